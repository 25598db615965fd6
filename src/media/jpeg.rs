//! Whether a JPEG file is whole: the decoder fills what is missing with grey, and a density would judge the grey.

/// Whether the marker that ends an image follows its scans.
///
/// Segments are stepped over by their lengths, so that the end of a thumbnail inside a header is not taken for the end of
/// the image. In a scan a byte 0xFF is data when 0x00 follows, and a restart marker (0xD0 to 0xD7) does not end it.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut position = 2;
    while let Some(&byte) = bytes.get(position) {
        if byte != 0xFF {
            position += 1;
            continue;
        }
        match bytes.get(position + 1) {
            Some(0xD9) => return true,
            // Fill bytes: the marker may be preceded by any number of 0xFF.
            Some(0xFF) => position += 1,
            Some(0x00 | 0x01 | 0xD0..=0xD8) => position += 2,
            Some(_) => {
                let (Some(&high), Some(&low)) = (bytes.get(position + 2), bytes.get(position + 3))
                else {
                    return false;
                };
                position += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        // A header segment of length 6 that contains an end marker, then a scan with a stuffed byte and a restart.
        let start = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2];
        let scan = [0xFF, 0xDA, 0, 2, 7, 0xFF, 0x00, 8, 0xFF, 0xD3, 9];
        let cut = [&start[..], &scan[..]].concat();
        assert!(!is_complete(&cut));
        assert!(is_complete(&[&cut[..], &[0xFF, 0xD9]].concat()));
        assert!(!is_complete(&[0xFF, 0xD8, 0xFF, 0xE1, 0]));
        assert!(!is_complete(&[0xFF]));
        assert!(!is_complete(&[]));
    }
}
