//! The reference for people, made of the lists.

use std::fmt::Write;

use crate::Settings;
use crate::setting::{Kind, Reload, Scope, Setting};
use crate::shape::{Form, Shape, shapes};
use crate::table::Field;

/// The page `docs/configuration.md`, in Markdown: every setting and every table, with what it takes and its default.
#[must_use]
pub fn reference() -> String {
    let mut page = format!("{INTRODUCTION}{EXAMPLE}```\n");
    for (scope, heading) in [(Scope::Proxy, FOR_THE_PROXY), (Scope::App, FOR_APPS)] {
        page.push_str(heading);
        page.push_str("| key | takes | default | |\n|---|---|---|---|\n");
        for setting in Settings::ALL.iter().filter(|setting| setting.scope == scope) {
            of_setting(&mut page, setting);
        }
    }
    page.push_str("\n## Tables of the file\n");
    for shape in shapes() {
        of_shape(&mut page, &shape);
    }
    page
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `edgeproxy_config::reference`; a test compares it. -->

Flags win over environment variables, those over `edgeproxy.toml`, and that over the defaults. Each setting has the same name
in all three: `max_failures` in the file, `EDGEPROXY_MAX_FAILURES` as a variable, `--max-failures` as a flag; where a variable is
called otherwise, the table says so. The file is the one that `--config` or `EDGEPROXY_CONFIG` names, or else `edgeproxy.toml` in
the folder that the process was started in. A file with any fault is refused as a whole, and all of its faults are reported at
once.

**Reload.** A running process reads the configuration again on SIGHUP, and within a few seconds of a change to the file. Flags and
variables stay as they were at its start. If there is no fault, everything takes effect at once and without dropping a connection:
for the next request or, for settings of client connections, for the next connection. If there is a fault, nothing changes. It is
a fault to change what the tables mark *Takes a restart*, or what the `[[listeners]]` listen on.

`GET /api/v1/config` shows what is in force, where each value came from, and what became of the last reload. Settings that are
allowed but risky are listed in [Rules](rules.md). Editors that know JSON Schema can complete and check the file with
[edgeproxy.schema.json](edgeproxy.schema.json).

## An example

```toml
";

const EXAMPLE: &str = include_str!("../tests/example.toml");

const FOR_THE_PROXY: &str = "\n## Settings of the proxy\n\n";

const FOR_APPS: &str = "
## Settings of the proxy that an app may have differently

At the top of the file, as a variable or as a flag they are for every app that doesn't say otherwise in its `[apps.NAME]`.

";

fn of_setting(page: &mut String, setting: &Setting) {
    let default = match (setting.default, setting.kind.is_many()) {
        ("", true) => "none".to_owned(),
        ("", false) => "–".to_owned(),
        (default, _) => format!("`{default}`"),
    };
    let by_rule = format!("EDGEPROXY_{}", setting.key.to_ascii_uppercase());
    let variable = if setting.env() == by_rule {
        String::new()
    } else {
        format!(" Variable: `{}`.", setting.env())
    };
    let restart = match setting.reload {
        Reload::Live => "",
        Reload::Restart => " Takes a restart.",
    };
    let doc = format!("{}{variable}{restart}", setting.doc());
    row(page, setting.key, setting.kind, &default, &doc);
}

pub(crate) fn of_shape(page: &mut String, shape: &Shape) {
    // Writing to a text can't fail.
    let _ = write!(
        page,
        "\n### `{}`\n\n{}\n\n| key | takes | default | |\n|---|---|---|---|\n",
        shape.heading, shape.about
    );
    for field in &shape.fields {
        let Field {
            key, kind, default, ..
        } = **field;
        row(page, key, kind, default, field.doc());
    }
    for inner in &shape.inner {
        let takes = if inner.form == Form::Many {
            "tables"
        } else {
            "a table"
        };
        let _ = writeln!(page, "| `{}` | {takes} | – | {} |", inner.key, cell(inner.about));
    }
    for inner in &shape.inner {
        of_shape(page, inner);
    }
}

fn row(page: &mut String, key: &str, kind: Kind, default: &str, doc: &str) {
    let takes = kind.expected_in_file();
    let _ = writeln!(page, "| `{key}` | {} | {default} | {} |", cell(&takes), cell(doc));
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
