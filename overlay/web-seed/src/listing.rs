//! The links of a directory listing, as every web server makes them: an HTML page whose `href`s are file names. Nothing
//! else of the page matters, so it is searched for these and not parsed.

use std::collections::BTreeMap;

use cairn_archive::ArchiveName;
use reqwest::Url;

use crate::error::{NoArchive, Reason};

/// Most bytes of a page. A link takes some 200, and mainnet has 3,000 eras.
pub(crate) const MAX_PAGE: usize = 16 << 20;
/// Most files of one mirror: several networks in every profile.
pub(crate) const MAX_FILES: usize = 100_000;

/// The archives that the page at `base` links to, by name: files of the same server whose name has an archive's suffix.
pub(crate) fn archives(page: &[u8], base: &Url) -> Result<BTreeMap<String, Url>, Reason> {
    let mut files = BTreeMap::new();
    let page = String::from_utf8_lossy(page);
    for href in hrefs(&page) {
        // A name with an ampersand is no archive's, but one may stand in the query of a link to it.
        let Ok(url) = base.join(&href.replace("&amp;", "&")) else { continue };
        if url.origin() != base.origin() {
            continue;
        }
        if let Some(name) = archive_name(&url) {
            files.entry(name).or_insert(url);
        }
        if files.len() > MAX_FILES {
            return Err(Reason::Listing { limit: MAX_FILES, unit: "files" });
        }
    }
    Ok(files)
}

/// What a page is that links to no archive.
pub(crate) fn why_none(page: &[u8], base: &Url) -> NoArchive {
    /// What begins a file in gzip's format.
    const GZIP: &[u8] = &[0x1f, 0x8b];
    if page.starts_with(GZIP) {
        return NoArchive::Compressed;
    }
    let page = String::from_utf8_lossy(page);
    let links: Vec<_> = hrefs(&page).take(MAX_FILES).filter_map(|href| base.join(href).ok()).collect();
    let archive = links.iter().find(|url| archive_name(url).is_some());
    match (
        archive.map(|url| url.origin().ascii_serialization()),
        page.trim_start_matches('\u{feff}').trim_ascii_start().as_bytes(),
    ) {
        (Some(server), _) => NoArchive::Elsewhere(server),
        _ if !links.is_empty() => NoArchive::OtherLinks,
        (_, [b'{' | b'[', ..]) => NoArchive::Json,
        (_, [b'<', b'?', b'x', b'm', b'l', ..] | [b'<', b'L', b'i', b's', b't', ..]) => NoArchive::Xml,
        _ => NoArchive::NoLink,
    }
}

/// The name of the archive that a URL ends in, if it does.
pub(crate) fn archive_name(url: &Url) -> Option<String> {
    let name = url.path_segments()?.next_back()?;
    ArchiveName::is_archive(name).then(|| name.to_owned())
}

/// The values of all `href` attributes: in quotes of either kind, or without.
fn hrefs(page: &str) -> impl Iterator<Item = &str> {
    const ATTRIBUTE: &[u8] = b"href";
    let mut rest = page;
    std::iter::from_fn(move || {
        loop {
            let at = rest.as_bytes().windows(ATTRIBUTE.len()).position(|word| word.eq_ignore_ascii_case(ATTRIBUTE))?;
            rest = rest.get(at + ATTRIBUTE.len()..)?.trim_ascii_start();
            let Some(value) = rest.strip_prefix('=') else { continue };
            let value = value.trim_ascii_start();
            let quoted = value.strip_prefix('"').and_then(|value| value.split_once('"'));
            let quoted = quoted.or_else(|| value.strip_prefix('\'').and_then(|value| value.split_once('\'')));
            let (href, behind) = quoted.unwrap_or_else(|| {
                let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len());
                value.split_at(end)
            });
            rest = behind;
            return Some(href.trim_ascii());
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(page: &str) -> Vec<(String, String)> {
        let base = Url::parse("http://127.0.0.1/eras/").unwrap();
        let files = archives(page.as_bytes(), &base).unwrap();
        files.into_iter().map(|(name, url)| (name, url.to_string())).collect()
    }

    #[test]
    fn links_to_archives_are_found_however_they_are_written() {
        let page = r#"<a href="a-00000-00000000.era1">x</a><A HREF = 'sub/b-00001-00000000.ere'>
            <a href=/c-00002-00000000.erae>c</a> <a href="./d-00003-00000000.ere?a=1&amp;b=2">"#;
        let expected = [
            ("a-00000-00000000.era1", "http://127.0.0.1/eras/a-00000-00000000.era1"),
            ("b-00001-00000000.ere", "http://127.0.0.1/eras/sub/b-00001-00000000.ere"),
            ("c-00002-00000000.erae", "http://127.0.0.1/c-00002-00000000.erae"),
            ("d-00003-00000000.ere", "http://127.0.0.1/eras/d-00003-00000000.ere?a=1&b=2"),
        ];
        assert_eq!(names(page), expected.map(|(name, url)| (name.to_owned(), url.to_owned())));
    }

    #[test]
    fn nonsense_and_other_servers_are_passed_over() {
        let page = r#"<a href="../">up</a> href href= href=" <a href="http://127.0.0.2/a-00000-00000000.ere">
            <a href="javascript:x.ere"> <a href="file:///a.ere"> <a href="http://[/a.ere"> <a href="checksums.txt">"#;
        assert_eq!(names(page), []);
    }

    #[test]
    fn it_is_told_why_a_page_lists_nothing() {
        let base = Url::parse("http://127.0.0.1/eras/").unwrap();
        for (page, why) in [
            (&b"\x1f\x8b\x08href=a-00000-00000000.ere"[..], NoArchive::Compressed),
            (b"<?xml version=\"1.0\"?><ListBucketResult><Key>a.ere</Key>", NoArchive::Xml),
            (b"\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", NoArchive::Xml),
            (b" [{\"name\": \"a-00000-00000000.ere\"}]", NoArchive::Json),
            (b"a-00000-00000000.ere\nb-00000-00000000.ere", NoArchive::NoLink),
            (b"", NoArchive::NoLink),
            (b"<?xml version=\"1.0\"?><html><a href=\"notes.txt\">", NoArchive::OtherLinks),
            (
                b"<a href=http://cdn.example/a-00000-00000000.ere>",
                NoArchive::Elsewhere("http://cdn.example".to_owned()),
            ),
        ] {
            assert_eq!(archives(page, &base).unwrap().len(), usize::from(why == NoArchive::Compressed));
            assert_eq!(why_none(page, &base), why);
        }
    }

    #[test]
    fn a_listing_has_a_largest_size() {
        let page: String = (0..=MAX_FILES).map(|n| format!("<a href={n}.ere>")).collect();
        let base = Url::parse("http://127.0.0.1/").unwrap();
        assert!(matches!(archives(page.as_bytes(), &base), Err(Reason::Listing { limit: MAX_FILES, .. })));
    }

    proptest! {
        #[test]
        fn any_page_is_read_to_its_end(page in "(href|HREF|=|\"|'|>| |a\\.ere|é|\\PC){0,40}") {
            for (_, url) in names(&page) {
                prop_assert!(url.starts_with("http://127.0.0.1/"));
            }
        }
    }
}
