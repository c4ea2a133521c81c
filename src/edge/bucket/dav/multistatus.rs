//! What a folder holds, as a WebDAV server lists it (RFC 4918 §13).
//!
//! Nothing in it is believed.

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

/// Elements within each other; a listing has six.
const NESTING_MAX: usize = 32;

/// An object or folder that lies directly in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, decoded.
    pub name: String,
    /// Bytes of an object; `None` for a folder.
    pub size_bytes: Option<u64>,
    /// When it was stored; the epoch where that is not said.
    pub stored: jiff::Timestamp,
}

/// Why a listing is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Something that is neither sized nor a folder: to leave it out would hide it.
    #[error("has an entry that is neither an object with a size nor a folder")]
    Entry,
    /// It does not begin with the folder asked for: a proxy changed the paths, or it is another's.
    #[error("is not of the folder that was asked for")]
    Folder,
    /// A name that no key can be.
    #[error("has a name that is not UTF-8")]
    Name,
    /// Not a listing, or not all of one.
    #[error("is not well-formed")]
    Xml,
}

/// What of a `response` we know so far.
#[derive(Default)]
struct Entry {
    href: String,
    size: String,
    modified: String,
    is_folder: bool,
}

/// The members that a listing names directly in the folder of this path, as a URL has it. What it
/// names elsewhere is left out.
pub fn members(bytes: &[u8], folder: &str) -> Result<Vec<Member>, ListingError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ListingError::Xml)?;
    let folder = segments(folder)?.ok_or(ListingError::Folder)?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<Vec<u8>> = Vec::new();
    let mut entry = Entry::default();
    let mut members = Vec::new();
    let (mut is_folder_named, mut is_listing) = (false, false);
    loop {
        match reader.read_event().map_err(|_| ListingError::Xml)? {
            Event::Start(start) => {
                let is_first = path.is_empty() && !is_listing;
                let name = start.local_name().as_ref().to_owned();
                if (path.is_empty() && !(is_first && name == b"multistatus"))
                    || path.len() == NESTING_MAX
                {
                    return Err(ListingError::Xml);
                }
                is_listing = true;
                path.push(name);
                entry.begin(&path);
            }
            Event::Empty(empty) => {
                path.push(empty.local_name().as_ref().to_owned());
                entry.begin(&path);
                let _ = path.pop();
            }
            Event::End(_) => {
                let ended = path.len() == 2 && path[1] == b"response";
                let _ = path.pop();
                if ended {
                    let entry = std::mem::take(&mut entry);
                    match entry.place(&folder)? {
                        Place::Elsewhere => {}
                        Place::Folder => is_folder_named = true,
                        Place::Within(name) => members.push(entry.member(name)?),
                    }
                }
            }
            Event::Text(text) => {
                entry.add(&path, &text.decode().map_err(|_| ListingError::Xml)?);
            }
            Event::CData(text) => {
                entry.add(&path, &text.decode().map_err(|_| ListingError::Xml)?);
            }
            Event::GeneralRef(reference) => {
                let mut buffer = [0; 4];
                entry.add(&path, resolve(&reference, &mut buffer)?);
            }
            // Entities of its own would be the next step.
            Event::DocType(_) => return Err(ListingError::Xml),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !is_listing || !path.is_empty() {
        return Err(ListingError::Xml);
    }
    if !is_folder_named {
        return Err(ListingError::Folder);
    }
    Ok(members)
}

/// `&amp;` and `&#38;`; no others are known without a document type.
fn resolve<'a>(reference: &BytesRef<'_>, buffer: &'a mut [u8; 4]) -> Result<&'a str, ListingError> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| ListingError::Xml)? {
        return Ok(character.encode_utf8(buffer));
    }
    let name = reference.decode().map_err(|_| ListingError::Xml)?;
    resolve_predefined_entity(&name).ok_or(ListingError::Xml)
}

enum Place {
    Elsewhere,
    Folder,
    Within(String),
}

impl Entry {
    /// An element begins. Names are compared without their namespace: we asked for three
    /// properties of `DAV:`, and nothing else is answered.
    fn begin(&mut self, path: &[Vec<u8>]) {
        if let [_, _, _, _, kind, name] = path
            && kind == b"resourcetype"
            && name == b"collection"
        {
            self.is_folder = true;
        }
    }

    fn add(&mut self, path: &[Vec<u8>], text: &str) {
        let path: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        match path[..] {
            [_, b"response", b"href"] => self.href.push_str(text),
            [_, b"response", b"propstat", b"prop", b"getcontentlength"] => self.size.push_str(text),
            [_, b"response", b"propstat", b"prop", b"getlastmodified"] => {
                self.modified.push_str(text);
            }
            _ => {}
        }
    }

    fn place(&self, folder: &[String]) -> Result<Place, ListingError> {
        let href = self.href.trim();
        // A whole URL, or its path.
        let path = match href.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => {
                rest.find('/').map_or("/", |begin| &rest[begin..])
            }
            _ => href,
        };
        let Some(mut segments) = segments(path)? else { return Ok(Place::Elsewhere) };
        if segments == folder {
            return Ok(Place::Folder);
        }
        let name = segments.pop();
        Ok(name.filter(|_| segments == folder).map_or(Place::Elsewhere, Place::Within))
    }

    fn member(&self, name: String) -> Result<Member, ListingError> {
        let size_bytes = match (self.is_folder, self.size.trim().parse()) {
            (true, _) => None,
            (false, Ok(size)) => Some(size),
            (false, Err(_)) => return Err(ListingError::Entry),
        };
        let stored = jiff::fmt::rfc2822::parse(self.modified.trim()).ok();
        let stored = stored.map_or(jiff::Timestamp::UNIX_EPOCH, |stored| stored.timestamp());
        Ok(Member { name, size_bytes, stored })
    }
}

/// The parts of a path, decoded; `None` where one of them would lead elsewhere.
fn segments(path: &str) -> Result<Option<Vec<String>>, ListingError> {
    let mut segments = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let part = percent_decode_str(part).decode_utf8().map_err(|_| ListingError::Name)?;
        if part == "." || part == ".." || part.contains(['/', '\0']) {
            return Ok(None);
        }
        segments.push(part.into_owned());
    }
    Ok(Some(segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(responses: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">
            <D:response><D:href>/b%20c/d/</D:href><D:propstat><D:prop><D:resourcetype>
            <D:collection/></D:resourcetype></D:prop></D:propstat></D:response>
            {responses}</D:multistatus>"#
        )
    }

    fn object(href: &str, size: &str) -> String {
        format!(
            "<response><href>{href}</href><propstat><prop><resourcetype/>\
             <getcontentlength>{size}</getcontentlength>\
             <getlastmodified>Sun, 22 Nov 2026 02:54:14 GMT</getlastmodified></prop>\
             <status>HTTP/1.1 200 OK</status></propstat></response>"
        )
    }

    fn names(responses: &str) -> Result<Vec<(String, Option<u64>)>, ListingError> {
        let members = members(listing(responses).as_bytes(), "/b%20c/d/")?;
        Ok(members.into_iter().map(|member| (member.name, member.size_bytes)).collect())
    }

    #[test]
    fn objects_and_folders_are_named_decoded_and_strays_are_left_out() {
        for (href, name) in [
            ("/b%20c/d/x", Some("x")),
            ("/b c/d/x", Some("x")),
            ("http://other.example:81/b%20c/d/x", Some("x")),
            ("//b%20c//d/x", Some("x")),
            (" /b%20c/d/%C3%A9&amp;&#38;%26 ", Some("é&&&")),
            ("/b%20c/d/<![CDATA[<x>]]>", Some("<x>")),
            ("/b%20c/d/e/x", None),
            ("/b%20c/x", None),
            ("/x", None),
            ("", None),
            ("/b%20c/d/..", None),
            ("/b%20c/d/%2e%2e", None),
            ("/b%20c/d/..%2fx", None),
            ("/b%20c/d/x%00", None),
            ("/b%20c/d/../d/x", None),
        ] {
            let expected: Vec<_> =
                name.map(|name| (name.to_owned(), Some(7))).into_iter().collect();
            assert_eq!(names(&object(href, "7")).as_ref(), Ok(&expected), "{href}");
        }
        let folder = "<response><href>/b%20c/d/e/</href><propstat><prop><resourcetype><collection/>\
                      </resourcetype></prop></propstat></response>";
        assert_eq!(names(folder), Ok(vec![("e".into(), None)]));
        let members = members(listing(&object("/b%20c/d/x", "7")).as_bytes(), "/b%20c/d/");
        let stored = members.expect("a listing")[0].stored;
        assert_eq!(stored.to_string(), "2026-11-22T02:54:14Z");
    }

    #[test]
    fn what_is_no_listing_of_the_folder_is_refused() {
        let deep = "<a>".repeat(NESTING_MAX) + &"</a>".repeat(NESTING_MAX);
        for (responses, error) in [
            (object("/b%20c/d/%ff", "7"), ListingError::Name),
            (object("/b%20c/d/x", "-7"), ListingError::Entry),
            (object("/b%20c/d/x", ""), ListingError::Entry),
            (object("/b%20c/d/x", "99999999999999999999"), ListingError::Entry),
            (object("/b%20c/d/&x;", "7"), ListingError::Xml),
            ("</D:multistatus><D:multistatus xmlns:D='DAV:'>".into(), ListingError::Xml),
            ("<D:response>".into(), ListingError::Xml),
            (deep, ListingError::Xml),
        ] {
            assert_eq!(names(&responses), Err(error), "{responses}");
        }
        let good = listing("");
        for (text, folder, error) in [
            (good.as_str(), "/other/", ListingError::Folder),
            (&good[..good.len() - 5], "/b%20c/d/", ListingError::Xml),
            ("", "/", ListingError::Xml),
            ("login", "/", ListingError::Xml),
            ("<html><body>login</body></html>", "/", ListingError::Xml),
            ("<!DOCTYPE x [<!ENTITY y 'z'>]><multistatus/>", "/", ListingError::Xml),
            ("<multistatus/>", "/", ListingError::Xml),
        ] {
            assert_eq!(members(text.as_bytes(), folder), Err(error), "{text}");
        }
        assert_eq!(members(b"\xff", "/"), Err(ListingError::Xml));
    }

    proptest::proptest! {
        #[test]
        fn a_listing_changed_anywhere_is_taken_or_refused(
            at in 0usize..700, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4)
        ) {
            let mut text = listing(&object("/b%20c/d/x", "7")).into_bytes();
            let at = at.min(text.len());
            let end = text.len().min(at + bytes.len());
            text.splice(at..end, bytes);
            for member in members(&text, "/b%20c/d/").unwrap_or_default() {
                assert!(!member.name.contains('/') && member.name != "..");
            }
        }
    }
}
