//! Archives that unpack to more, or to somewhere else, than they should.

use std::io::{Cursor, Write};

use anyhow::Result;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const ENDPOINT: &[u8] = b"<TargetEndpoint name=\"default\"><HTTPTargetConnection><URL>http://10.0.0.1</URL></HTTPTargetConnection></TargetEndpoint>";

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
}

fn zip(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, options())?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

pub(super) fn all() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut archives = Vec::new();
    // Spaces are content that any parser of XML has to go through.
    let block = vec![b' '; 1 << 20];
    let mut bomb = ZipWriter::new(Cursor::new(Vec::new()));
    bomb.start_file("apiproxy/targets/bomb.xml", options().compression_level(Some(1)))?;
    bomb.write_all(b"<TargetEndpoint>")?;
    for _ in 0..48 {
        bomb.write_all(&block)?;
    }
    let bomb = bomb.finish()?.into_inner();
    let mut many = ZipWriter::new(Cursor::new(Vec::new()));
    let mut one = ZipArchive::new(Cursor::new(&bomb))?;
    for n in 0..100 {
        many.raw_copy_file_rename(one.by_index_raw(0)?, format!("apiproxy/targets/bomb{n}.xml"))?;
    }
    archives.push(("48 MiB of spaces", bomb));
    archives.push(("the same a hundred times", many.finish()?.into_inner()));
    let names: Vec<_> = (0..25_000)
        .map(|n| format!("apiproxy/targets/t{n}.xml"))
        .collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    archives.push(("25,000 files", zip(&many)?));
    archives.push((
        "paths that lead out",
        zip(&[
            ("../evil.xml", ENDPOINT),
            ("../../../../tmp/edgeproxy-evil", ENDPOINT),
            ("/tmp/edgeproxy-evil", ENDPOINT),
            ("apiproxy/targets/../../../evil.xml", ENDPOINT),
            ("apiproxy\\targets\\..\\..\\evil.xml", ENDPOINT),
            ("C:\\evil.xml", ENDPOINT),
        ])?,
    ));
    let mut link = ZipWriter::new(Cursor::new(Vec::new()));
    link.add_symlink("apiproxy/targets/link.xml", "/etc/passwd", options())?;
    archives.push(("a link to a file of the system's", link.finish()?.into_inner()));
    let inner = zip(&[("apiproxy/targets/a.xml", ENDPOINT)])?;
    let mut nested = inner.clone();
    for _ in 0..20 {
        nested = zip(&[("apiproxy/targets/inner.zip", &nested)])?;
    }
    archives.push(("zips within zips", nested));
    let mut lies = inner.clone();
    // The sizes that its directory tells, made as large as they can be.
    if let Some(at) = lies.windows(4).position(|window| window == b"PK\x01\x02") {
        lies[at + 20..at + 28].fill(0xfe);
    }
    archives.push(("sizes that are lies", lies));
    let mut count = inner.clone();
    if let Some(at) = count.windows(4).rposition(|window| window == b"PK\x05\x06") {
        count[at + 8..at + 12].fill(0xff);
    }
    archives.push(("a number of files that is a lie", count));
    archives.push(("half a zip", inner[..inner.len() / 2].to_vec()));
    archives.push(("the name of a zip, and nothing in it", Vec::new()));
    archives.push((
        "names of escapes",
        zip(&[("apiproxy/targets/\u{1b}[2J\u{1b}]0;owned\u{7}.xml", b"<a>")])?,
    ));
    archives.push((
        "an entity bomb within",
        zip(&[(
            "apiproxy/targets/a.xml",
            b"<!DOCTYPE x [<!ENTITY a \"b\">]><TargetEndpoint>&a;</TargetEndpoint>",
        )])?,
    ));
    Ok(archives)
}
