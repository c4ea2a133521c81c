//! The list of vectors: what each has that a dock does not write, and what a reader makes of it.

use base64::Engine;
use dockseal::envelope::header::Stanza;
use dockseal::envelope::manifest::MANIFEST;

use super::{AS_SEALED, BASE64, Case, Key, Parts, padded};

/// All of them.
pub fn cases() -> Vec<Case> {
    [
        good(),
        later(),
        other_salts(),
        other_bodies(),
        other_texts(),
        other_values(),
        other_times(),
        damaged(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `json` with one thing replaced, padded.
fn replaced(json: &str, from: &str, to: &str) -> Vec<u8> {
    assert!(json.contains(from), "{from} is not in {json}");
    padded(json.replace(from, to))
}

/// `json` with another member behind its last, padded.
fn with(json: &str, member: &str) -> Vec<u8> {
    padded(format!("{},{member}}}", json.strip_suffix('}').unwrap()))
}

fn good() -> Vec<Case> {
    vec![
        Case { name: "x25519", comment: "as a dock seals it", ..AS_SEALED },
        Case {
            name: "mlkem768x25519",
            comment: "as a dock seals it to its default type of recipient",
            sealed_to: &[Key::PostQuantum],
            read_with: Key::PostQuantum,
            ..AS_SEALED
        },
        Case {
            name: "x25519_p256tag",
            comment: "sealed to a key held in hardware too; its stanza is skipped",
            sealed_to: &[Key::Tag, Key::Stranger, Key::Classic],
            ..AS_SEALED
        },
        Case { name: "clip_empty", comment: "a clip of no bytes", clip_size: 0, ..AS_SEALED },
        Case {
            name: "clip_two_chunks",
            comment: "one byte more than a chunk holds",
            clip_size: 65_537,
            ..AS_SEALED
        },
        Case {
            name: "manifest_absent",
            comment: "an age file that no dock sealed",
            manifest: Some("absent"),
            stanzas: |parts| parts.stanzas.truncate(1),
            ..AS_SEALED
        },
        Case {
            name: "manifest_first",
            comment: "stanzas are in any order",
            stanzas: |parts| parts.stanzas.reverse(),
            ..AS_SEALED
        },
        Case {
            name: "manifest_full",
            comment: "the text is 512 bytes without padding, and none is added",
            text: Some(|json| {
                let text = with(json, &format!(r#""x":"{}""#, "y".repeat(505 - json.len())));
                assert!(text.len() == 512 && text.ends_with(b"}"));
                text
            }),
            ..AS_SEALED
        },
        Case {
            name: "manifest_largest",
            comment: "the text is 8,192 bytes, the most",
            text: Some(|json| with(json, &format!(r#""x":"{}""#, "y".repeat(7800)))),
            ..AS_SEALED
        },
        Case {
            name: "manifest_name_bytes",
            comment: "a name that is not UTF-8: ff fe 0a 2e 6d 70 34",
            text: Some(|json| {
                replaced(json, r#""20261118_104640.mp4""#, r#"{"base64":"//4KLm1wNA"}"#)
            }),
            ..AS_SEALED
        },
        Case {
            name: "manifest_no_camera",
            comment: "the camera is not known, and its name not there",
            text: Some(|json| replaced(json, r#""camera":"cam-17","#, "")),
            ..AS_SEALED
        },
    ]
}

fn later() -> Vec<Case> {
    vec![
        Case {
            name: "manifest_more_names",
            comment: "names of a later version are kept as they are",
            text: Some(|json| {
                with(json, r#""case":"4711","legs":[{"a":1.5,"b":[true,null]},{"a":-1,"b":{}}]"#)
            }),
            ..AS_SEALED
        },
        Case {
            name: "manifest_version_2",
            comment: "a later version of the object only has more names: it is read",
            text: Some(|json| {
                let json = json.replace(r#""version":1"#, r#""version":2"#);
                with(&json, r#""officer":"n/a""#)
            }),
            ..AS_SEALED
        },
        Case {
            name: "manifest_v2",
            comment: "another stanza type: of a later dockseal, which the reader says; it opens",
            manifest: Some("later"),
            stanzas: |parts| parts.manifest().kind = "dockseal.manifest/v2".into(),
            ..AS_SEALED
        },
        Case {
            name: "manifest_v2_other_form",
            comment: "nothing of a later type's arguments and body is known",
            manifest: Some("later"),
            stanzas: |parts| {
                let kind = "dockseal.manifest/v9".into();
                let args = vec!["a".into(), "b".into(), "c".into()];
                *parts.manifest() = Stanza { kind, args, body: vec![7; 5] };
            },
            ..AS_SEALED
        },
        Case {
            name: "stanza_unknown",
            comment: "a stanza of a type that nobody knows is skipped",
            stanzas: |parts| {
                let args = vec!["~".into()];
                parts.stanzas.insert(0, Stanza { kind: "dockseal.x".into(), args, body: vec![] });
            },
            ..AS_SEALED
        },
    ]
}

/// The stanza is not of its form: the clip opens, and its manifest is not believed.
fn invalid(name: &'static str, comment: &'static str, stanzas: fn(&mut Parts)) -> Case {
    Case { name, comment, manifest: Some("invalid"), stanzas, ..AS_SEALED }
}

/// A manifest that would verify, under a salt of this many bytes.
fn salted(parts: &mut Parts, size: usize) {
    let text = padded(serde_json::to_vec(&super::manifest(3)).unwrap());
    *parts.manifest() = parts.sealed_manifest(&text, &vec![9; size]);
}

fn other_salts() -> Vec<Case> {
    vec![
        invalid("salt_15", "a salt of 15 bytes", |parts| salted(parts, 15)),
        invalid("salt_17", "a salt of 17 bytes", |parts| salted(parts, 17)),
        invalid("salt_none", "no salt", |parts| parts.manifest().args.clear()),
        invalid("salt_second_argument", "one argument too many", |parts| {
            let salt = parts.manifest().args[0].clone();
            parts.manifest().args.push(salt);
        }),
        invalid(
            "salt_not_canonical",
            "the unused bits of the salt's base64 are not zero",
            |parts| {
                let salt = &mut parts.manifest().args[0];
                let last = salt.pop().unwrap();
                assert!("AQgw".contains(last), "two bits of six are used");
                salt.push((last as u8 + 1) as char);
            },
        ),
        invalid("salt_padded", "the salt's base64 is padded with =", |parts| {
            parts.manifest().args[0].push_str("==");
        }),
        invalid("salt_other", "the salt of another manifest", |parts| {
            parts.manifest().args[0] = BASE64.encode([9; 16]);
        }),
    ]
}

fn other_bodies() -> Vec<Case> {
    vec![
        invalid("body_flipped", "a bit of the body is another; the MAC was made again", |parts| {
            parts.manifest().body[100] ^= 1;
        }),
        invalid("body_short", "a body of 512 + 15 bytes", |parts| {
            parts.manifest().body.pop();
        }),
        invalid("body_long", "a body of 512 + 17 bytes", |parts| {
            parts.manifest().body.push(0);
        }),
        invalid("body_none", "no body at all", |parts| parts.manifest().body.clear()),
        invalid("body_tag_only", "a body of 16 bytes: a tag of no text", |parts| {
            *parts.manifest() = parts.sealed_manifest(b"", &[9; 16]);
        }),
        invalid("body_too_large", "a text of 8,704 bytes that verifies", |parts| {
            let json = serde_json::to_string(&super::manifest(3)).unwrap();
            let text = with(&json, &format!(r#""x":"{}""#, "y".repeat(8000)));
            assert_eq!(text.len(), 8704);
            *parts.manifest() = parts.sealed_manifest(&text, &[9; 16]);
        }),
        invalid("manifest_of_another_file", "sealed under another file key", |parts| {
            parts.key[0] ^= 1;
            salted(parts, 16);
        }),
        invalid("manifest_twice", "two manifests, and no rule which one counts", |parts| {
            let manifest = parts.manifest().clone();
            parts.stanzas.push(manifest);
        }),
        invalid("manifest_twice_v2", "one of each version: two manifests all the same", |parts| {
            let kind = "dockseal.manifest/v2".into();
            parts.stanzas.push(Stanza { kind, ..parts.stanzas[1].clone() });
            assert_eq!(parts.stanzas[1].kind, MANIFEST);
        }),
    ]
}

fn invalid_text(name: &'static str, comment: &'static str, text: fn(&str) -> Vec<u8>) -> Case {
    Case { name, comment, manifest: Some("invalid"), text: Some(text), ..AS_SEALED }
}

/// The text verifies, and is not one padded JSON object.
fn other_texts() -> Vec<Case> {
    vec![
        invalid_text("json_none", "not JSON", |_| padded("name=20261118_104640.mp4")),
        invalid_text("json_only_spaces", "nothing but padding", |_| vec![b' '; 512]),
        invalid_text("json_array", "JSON, and no object", |json| padded(format!("[{json}]"))),
        invalid_text("json_cut", "the object does not end", |json| padded(&json[..json.len() - 1])),
        invalid_text("json_two", "an object behind the object", |json| {
            padded(format!("{json}{{}}"))
        }),
        invalid_text("json_bom", "a byte order mark", |json| padded(format!("\u{feff}{json}"))),
        invalid_text("json_not_utf8", "a byte that is not UTF-8 in a string", |json| {
            let mut text = padded(json);
            let at = json.find("cam-17").unwrap();
            text[at] = 0xff;
            text
        }),
        invalid_text("json_nan", "NaN is no number of JSON", |json| with(json, r#""x":NaN"#)),
        invalid_text("json_half_pair", "half of a surrogate pair is no character", |json| {
            with(json, r#""x":"\ud83d""#)
        }),
        invalid_text("json_deep", "values nested 400 deep", |json| {
            with(json, &format!(r#""x":{}{}"#, "[".repeat(400), "]".repeat(400)))
        }),
        invalid_text("padding_zeros", "padded with zero bytes", |json| {
            let mut text = padded(json);
            text[json.len()..].fill(0);
            text
        }),
        invalid_text("padding_line_ends", "padded with LF, which is white space to JSON", |json| {
            let mut text = padded(json);
            text[json.len()..].fill(b'\n');
            text
        }),
        invalid_text("padding_before", "padded in front", |json| {
            let mut text = padded(json);
            text.rotate_right(512 - json.len());
            text
        }),
        invalid_text("name_twice", "one name twice: of two, each reader takes another", |json| {
            with(json, r#""name":"other.mp4""#)
        }),
        invalid_text("name_twice_escaped", "the same, in another spelling", |json| {
            with(json, r#""n\u0061me":"other.mp4""#)
        }),
        invalid_text("name_twice_unknown", "one name that is not known twice", |json| {
            with(json, r#""x":1,"x":1"#)
        }),
        invalid_text("name_twice_within", "one name twice in an object within", |json| {
            with(json, r#""x":[{"y":1,"y":2}]"#)
        }),
    ]
}

/// An object, of which one member is missing or is not what it must be.
fn other_values() -> Vec<Case> {
    vec![
        invalid_text("value_missing", "a name that is always there is not", |json| {
            replaced(json, r#""dock":"hannover-hbf-03","#, "")
        }),
        invalid_text("value_version_0", "versions begin with 1", |json| {
            replaced(json, r#""version":1"#, r#""version":0"#)
        }),
        invalid_text("value_version_text", "a version is an integer", |json| {
            replaced(json, r#""version":1"#, r#""version":"1""#)
        }),
        invalid_text("value_dock_null", "a dock is a string", |json| {
            replaced(json, r#""hannover-hbf-03""#, "null")
        }),
        invalid_text("value_camera_null", "a camera that is not known is left out", |json| {
            replaced(json, r#""camera":"cam-17""#, r#""camera":null"#)
        }),
        invalid_text("value_name_control", "a control character in a name that is text", |json| {
            replaced(json, "20261118_104640.mp4", r"2026\u001b[2J.mp4")
        }),
        invalid_text("value_name_c1", "U+0085 is a control character too", |json| {
            replaced(json, "20261118_104640.mp4", r"2026\u0085.mp4")
        }),
        invalid_text("value_name_two_members", "something beside the bytes of a name", |json| {
            let name = r#"{"base64":"//4KLm1wNA","text":"a.mp4"}"#;
            replaced(json, r#""20261118_104640.mp4""#, name)
        }),
        invalid_text("value_name_base64_padded", "the bytes of a name padded with =", |json| {
            replaced(json, r#""20261118_104640.mp4""#, r#"{"base64":"//4KLm1wNA=="}"#)
        }),
        invalid_text("value_size_negative", "a size is 0 or more", |json| {
            replaced(json, r#""size_bytes":3"#, r#""size_bytes":-3"#)
        }),
        invalid_text("value_size_minus_0", "an integer has no sign", |json| {
            replaced(json, r#""size_bytes":3"#, r#""size_bytes":-0"#)
        }),
        invalid_text("value_size_2_64", "a size is less than 2 to the power of 64", |json| {
            replaced(json, r#""size_bytes":3"#, r#""size_bytes":18446744073709551616"#)
        }),
        invalid_text("value_size_fraction", "a size is an integer, written as one", |json| {
            replaced(json, r#""size_bytes":3"#, r#""size_bytes":3.0"#)
        }),
        invalid_text("value_salt_31", "a commitment's salt of 31 bytes", |json| {
            replaced(json, &BASE64.encode([1; 32]), &BASE64.encode([1; 31]))
        }),
        Case {
            name: "value_size_other",
            comment: "the manifest has another size: the clip opens, and the reader says so",
            text: Some(|json| replaced(json, r#""size_bytes":3"#, r#""size_bytes":4"#)),
            ..AS_SEALED
        },
    ]
}

/// As [`other_values`], of times.
fn other_times() -> Vec<Case> {
    vec![
        invalid_text("value_time_offset", "times are in UTC, and say so with Z", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "2026-11-18T11:46:40+01:00")
        }),
        invalid_text("value_time_space", "T stands between day and time", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "2026-11-18 10:46:40Z")
        }),
        invalid_text("value_time_no_digit", "a point without a fraction", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "2026-11-18T10:46:40.Z")
        }),
        invalid_text("value_time_10_digits", "more than nanoseconds", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "2026-11-18T10:46:40.1234567891Z")
        }),
        invalid_text("value_time_month_13", "there is no such day", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "2026-13-18T10:46:40Z")
        }),
        invalid_text("value_time_year_0", "years begin with 1", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "0000-11-18T10:46:40Z")
        }),
        invalid_text("value_time_leap_second", "no second is the 60th", |json| {
            replaced(json, "2026-11-18T10:46:40Z", "2026-11-18T10:46:60Z")
        }),
    ]
}

/// Where the manifest stanza's body begins.
fn body(file: &[u8]) -> usize {
    let line = file.windows(MANIFEST.len()).position(|it| it == MANIFEST.as_bytes()).unwrap();
    line + file[line..].iter().position(|byte| *byte == b'\n').unwrap() + 1
}

/// The file was changed by somebody who does not have its file key, or is for somebody else.
fn damaged() -> Vec<Case> {
    fn no_manifest(name: &'static str, comment: &'static str, expect: &'static str) -> Case {
        Case { name, comment, expect, manifest: None, released: Some(0), ..AS_SEALED }
    }
    vec![
        Case {
            bytes: |file| {
                let at = body(file);
                file[at] = if file[at] == b'A' { b'B' } else { b'A' };
            },
            ..no_manifest("header_body_flipped", "a byte of the manifest's body", "HMAC failure")
        },
        Case {
            bytes: |file| {
                let begin = file.windows(4).position(|it| it == b"-> d").unwrap();
                let end = file.windows(5).position(|it| it == b"\n--- ").unwrap();
                file.drain(begin..=end);
            },
            ..no_manifest("header_manifest_taken", "the manifest was taken out", "HMAC failure")
        },
        Case {
            bytes: |file| {
                let at = body(file);
                file.insert(at + 64, b'\r');
            },
            ..no_manifest("header_cr", "a CR in the manifest's body", "header failure")
        },
        Case {
            bytes: |file| {
                let at = body(file);
                file.remove(at + 64);
            },
            ..no_manifest("header_long_line", "a body line of 128 characters", "header failure")
        },
        Case {
            read_with: Key::Stranger,
            ..no_manifest("for_somebody_else", "another identity", "no match")
        },
        Case {
            name: "payload_cut",
            comment: "cut at the end of a chunk that was not the last",
            expect: "payload failure",
            clip_size: 65_537,
            released: Some(65_536),
            bytes: |file| file.truncate(file.len() - 17),
            ..AS_SEALED
        },
        Case {
            name: "payload_flipped",
            comment: "a bit of the second chunk: the first one may be given out",
            expect: "payload failure",
            clip_size: 65_537,
            released: Some(65_536),
            bytes: |file| *file.last_mut().unwrap() ^= 1,
            ..AS_SEALED
        },
        Case {
            name: "payload_trailing",
            comment: "a byte behind the last chunk",
            expect: "payload failure",
            released: Some(0),
            bytes: |file| file.push(0),
            ..AS_SEALED
        },
    ]
}
