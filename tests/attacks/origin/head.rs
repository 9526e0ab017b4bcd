//! A head as it came, and what is wrong with it.

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// What came before a body, its empty line included.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    line: String,
    /// With their names as they came.
    fields: Vec<(String, Vec<u8>)>,
    bytes: Vec<u8>,
}

impl Head {
    /// # Errors
    /// With what no two parsers read alike.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let inner = bytes.strip_suffix(b"\r\n\r\n").ok_or("no end")?;
        let mut lines = Vec::new();
        let mut rest = inner;
        while let Some(at) = super::find(rest, b"\r\n") {
            lines.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        lines.push(rest);
        if let Some(byte) = lines
            .iter()
            .copied()
            .flatten()
            .find(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            return Err(format!("the byte {byte:#04x}"));
        }
        let line = String::from_utf8(lines[0].to_vec()).map_err(|_| "a request line that is no text")?;
        let mut fields = Vec::new();
        for field in &lines[1..] {
            let at = field.iter().position(|byte| *byte == b':');
            let at =
                at.ok_or_else(|| format!("a line without a colon: {:?}", String::from_utf8_lossy(field)))?;
            let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
            let name = &field[..at];
            if name.is_empty() || !name.iter().all(is_token) {
                return Err(format!("the field name {:?}", String::from_utf8_lossy(name)));
            }
            fields.push((
                String::from_utf8_lossy(name).into_owned(),
                field[at + 1..].trim_ascii().to_vec(),
            ));
        }
        Ok(Self {
            line,
            fields,
            bytes: bytes.to_vec(),
        })
    }

    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// All of it, for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The values of a field, in their order.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let named = self
            .fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The value of a field that is there once.
    pub(crate) fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        if all.len() == 1 { all.pop() } else { None }
    }

    pub(crate) fn framing(&self) -> Framing {
        if !self.all("transfer-encoding").is_empty() {
            return Framing::Chunked;
        }
        let length = self.one("content-length").and_then(|length| length.parse().ok());
        length.map_or(Framing::None, Framing::Length)
    }

    /// What another server could read otherwise, or must not see.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |is: bool, what: &str| {
            if is {
                faults.push(what.to_owned());
            }
        };
        let words: Vec<_> = self.line.split(' ').collect();
        fault(
            words.len() != 3 || words.iter().any(|word| word.is_empty()),
            "a request line of other than three words",
        );
        fault(words.last() != Some(&"HTTP/1.1"), "another version than HTTP/1.1");
        fault(
            !words
                .get(1)
                .is_some_and(|target| target.starts_with('/') || *target == "*"),
            "a target that is no path",
        );
        fault(
            self.line
                .bytes()
                .any(|byte| !byte.is_ascii_graphic() && byte != b' '),
            "a request line with control or other bytes",
        );
        fault(self.all("host").len() != 1, "other than one Host");
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        fault(lengths.len() + codings.len() > 1, "two ways to tell the length");
        fault(
            codings.iter().any(|coding| coding != "chunked"),
            "a coding other than chunked",
        );
        let is_plain =
            |length: &String| !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        fault(!lengths.iter().all(is_plain), "a length that is not plain digits");
        fault(
            self.all("upgrade")
                .iter()
                .any(|upgrade| upgrade.to_ascii_lowercase().contains("h2c")),
            "an upgrade to h2c",
        );
        fault(!self.all("http2-settings").is_empty(), "HTTP2-Settings");
        for name in ["keep-alive", "proxy-connection", "proxy-authorization"] {
            fault(!self.all(name).is_empty(), name);
        }
        let is_hop = |value: &String| {
            !matches!(
                value.to_ascii_lowercase().as_str(),
                "close" | "keep-alive" | "upgrade" | "te"
            )
        };
        fault(
            self.all("connection").iter().any(is_hop),
            "Connection that names other than upgrade or te",
        );
        let is_ctl = |value: &[u8]| value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        fault(
            self.fields.iter().any(|(_, value)| is_ctl(value)),
            "a control byte in a value",
        );
        fault(
            self.fields
                .iter()
                .any(|(name, _)| name.contains('_') && confusable(name)),
            "a name that CGI takes for a framing field",
        );
        fault(self.all("via").is_empty(), "no Via");
        faults
    }
}

/// Names that become those of framing fields where `_` and `-` are the same.
fn confusable(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    matches!(name.as_str(), "content-length" | "transfer-encoding")
}
