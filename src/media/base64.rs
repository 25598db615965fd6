//! Files as text: base64 in the dialects that people send.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{MediaError, error::clip};

/// Padding may be there or not; bits behind the last byte may be anything, as in most decoders.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Reads base64 in the standard alphabet (`+`, `/`) or the url-safe one (`-`, `_`), with or without padding, with or
/// without line breaks and other white space, alone or behind `data:…;base64,`.
///
/// # Errors
/// [`MediaError::Base64`], which names the character that does not belong there, or the two alphabets if they are
/// mixed.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, MediaError> {
    let text = payload(text.trim_ascii())?;
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let joined: Vec<u8>;
    let digits = if text.as_bytes().iter().any(is_space) {
        joined = text.bytes().filter(|byte| !is_space(byte)).collect();
        &joined[..]
    } else {
        text.as_bytes()
    };
    let has = |known: [u8; 2]| digits.iter().find(|digit| known.contains(digit));
    let engine = match (has(*b"+/"), has(*b"-_")) {
        (Some(&standard), Some(&url_safe)) => {
            return Err(MediaError::Base64(format!(
                "the text has {:?} of the standard alphabet and {:?} of the url-safe one; wanted is one of the two",
                char::from(standard),
                char::from(url_safe)
            )));
        }
        (_, Some(_)) => URL_SAFE,
        _ => STANDARD,
    };
    if let Some(character) = text.chars().find(|&c| !is_digit(c)) {
        return Err(MediaError::Base64(format!(
            "{character:?} is not a digit of base64; wanted are letters, figures, + and / or - and _"
        )));
    }
    engine.decode(digits).map_err(|error| {
        let reason = match error {
            base64::DecodeError::InvalidByte(..) | base64::DecodeError::InvalidPadding => {
                "padding (=) stands elsewhere than at the end".to_owned()
            }
            _ => format!(
                "{} digits are not a whole number of bytes: the text is cut short",
                digits.len()
            ),
        };
        MediaError::Base64(reason)
    })
}

fn is_digit(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || character.is_ascii_whitespace()
        || matches!(character, '+' | '/' | '-' | '_' | '=')
}

/// What stands behind the head of a `data:` URL; all of a text that is none.
fn payload(text: &str) -> Result<&str, MediaError> {
    let is_url = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    if !is_url {
        return Ok(text);
    }
    let wanted =
        |found: &str| MediaError::Base64(format!("{found}; wanted is data:image/png;base64, and then the text"));
    let (head, payload) = text
        .split_once(',')
        .ok_or_else(|| wanted("the data: URL has no comma"))?;
    let is_base64 = head
        .rsplit_once(';')
        .is_some_and(|(_, encoding)| encoding.trim().eq_ignore_ascii_case("base64"));
    if !is_base64 {
        return Err(wanted(&format!("the data: URL {:?} is not in base64", clip(head))));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_gives_the_same_bytes() {
        for text in [
            "+/+/YQ==",
            "+/+/YQ",
            "-_-_YQ==",
            "-_-_YQ",
            " +/+/\r\nYQ==\n",
            "+/+/Y\n\tQ==",
            "data:image/png;base64,+/+/YQ==",
            "DATA:image/png;name=x;Base64,-_-_YQ",
            "data:;base64,+/+/YQ==",
        ] {
            assert_eq!(decode_base64(text).unwrap(), b"\xfb\xff\xbfa", "{text}");
        }
        assert_eq!(decode_base64("").unwrap(), b"");
    }

    #[test]
    fn every_fault_is_named() {
        let long = format!("data:{},", "x".repeat(1 << 20));
        for (text, part) in [
            ("AAA*", "'*' is not a digit"),
            ("AAAé", "'é' is not a digit"),
            ("A", "1 digits are not a whole number of bytes"),
            ("AAAAA", "5 digits"),
            ("AA==AA==", "padding"),
            ("+A-A", "'+' of the standard alphabet and '-'"),
            ("data:image/png;base64", "no comma"),
            ("data:image/png,AAAA", "not in base64"),
            (&long, "not in base64"),
        ] {
            let message = decode_base64(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text:.20}: {message:.300}");
            assert!(message.len() < 400);
        }
    }
}
