//! Where on a connection of HTTP/1 the heads of requests lie, and whether their lines end as they should.
//!
//! A client may send its next request before it has the answer to the one before, so that several heads, and bodies
//! between them, come in one piece. Where a head ends is seen here; how long its body is says the library, which has
//! understood the head: see [`RequestHeads::begin`].

use super::line_endings::LineEndings;

/// What arrives on one connection.
#[derive(Debug, Default)]
pub(super) struct RequestHeads {
    part: Part,
    /// The lines of the newest head.
    lines: LineEndings,
    /// What came behind a head that has not been understood yet.
    behind: Vec<u8>,
}

/// What is to come next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// More of a head, or a new one.
    #[default]
    Head,
    /// A head is complete, and how long its body is is not known yet.
    Understanding,
    /// So many bytes of a body.
    Bytes(u64),
    /// A body in chunks.
    Chunks(Chunk),
}

/// Where in a chunked body the connection is. RFC 9112, section 7.1. The library refuses what is not well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the digits of a size.
    Size(u64),
    /// Behind them.
    Extension(u64),
    /// So many bytes before the next size, the end of the line behind the data among them.
    Data(u64),
    /// In a line behind the last chunk, of which so many bytes have come.
    Trailer(u64),
}

impl RequestHeads {
    /// Goes on with what came.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.part {
                Part::Head => {
                    let taken = self.lines.read(bytes);
                    if self.lines.have_ended() {
                        self.part = Part::Understanding;
                    }
                    taken
                }
                Part::Understanding => {
                    // At most what the library reads at once: it reads no more before it has understood the head.
                    self.behind.extend_from_slice(bytes);
                    bytes.len()
                }
                Part::Bytes(left) => {
                    let taken = left.min(bytes.len() as u64);
                    self.part = match left - taken {
                        0 => self.next(),
                        left => Part::Bytes(left),
                    };
                    taken as usize
                }
                Part::Chunks(chunk) => {
                    let (taken, next) = chunk.read(bytes);
                    self.part = next.map_or_else(|| self.next(), Part::Chunks);
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }

    /// Whether a line of the newest head ended without CR.
    pub(super) fn are_bare(&self) -> bool {
        self.lines.are_bare()
    }

    /// The newest head has been understood: its body has so many bytes, or comes in chunks.
    pub(super) fn begin(&mut self, length: Option<u64>) {
        self.part = match length {
            Some(0) => self.next(),
            Some(length) => Part::Bytes(length),
            None => Part::Chunks(Chunk::Size(0)),
        };
        let behind = std::mem::take(&mut self.behind);
        self.read(&behind);
    }

    fn next(&mut self) -> Part {
        self.lines = LineEndings::default();
        Part::Head
    }
}

impl Chunk {
    /// Goes on; answers how many bytes belong to the body, and where in it the connection is then, unless at its end.
    fn read(mut self, bytes: &[u8]) -> (usize, Option<Self>) {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let Self::Data(left) = self {
                let step = left.min((bytes.len() - taken) as u64);
                taken += step as usize;
                self = match left - step {
                    0 => Self::Size(0),
                    left => Self::Data(left),
                };
                continue;
            }
            taken += 1;
            self = match (self, byte) {
                (Self::Size(0) | Self::Extension(0), b'\n') => Self::Trailer(0),
                (Self::Size(size) | Self::Extension(size), b'\n') => Self::Data(size.saturating_add(2)),
                (Self::Size(size), _) => match (byte as char).to_digit(16) {
                    Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                    None => Self::Extension(size),
                },
                (Self::Trailer(0), b'\n') => return (taken, None),
                (Self::Trailer(_), b'\n') => Self::Trailer(0),
                (Self::Trailer(length), b'\r') => Self::Trailer(length),
                (Self::Trailer(length), _) => Self::Trailer(length + 1),
                (other, _) => other,
            };
        }
        (taken, Some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const BARE: &str = "GET / HTTP/1.1\r\nhost: a\n\r\n";

    /// Sends requests, each with what its head says of its body, cut in two; which of the heads have bare lines?
    fn bare(requests: &[(&str, Option<u64>)], cut: usize) -> Vec<bool> {
        let all: String = requests.iter().map(|(text, _)| *text).collect();
        let (first, second) = all.as_bytes().split_at(cut);
        let mut heads = RequestHeads::default();
        let mut lengths = requests.iter().map(|(_, length)| *length);
        let mut found = Vec::new();
        for piece in [first, second] {
            heads.read(piece);
            while heads.part == Part::Understanding {
                found.push(heads.are_bare());
                heads.begin(lengths.next().unwrap());
            }
        }
        assert_eq!(heads.part, Part::Head);
        found
    }

    #[test]
    fn every_head_is_found_behind_whatever_body() {
        let chunks = "5;x=y\r\n\n\n\n\n\n\r\n0A\r\n0123456789\r\n0\r\na: b\r\n\r\n";
        let chunked = format!("{GOOD}{chunks}");
        let counted = format!("{GOOD}\n\n{BARE}");
        let all = [
            (GOOD, Some(0)),
            (&counted[..], Some(2 + BARE.len() as u64)),
            (BARE, Some(0)),
            (&chunked[..], None),
            (GOOD, Some(0)),
            (BARE, Some(0)),
        ];
        let length: usize = all.iter().map(|(text, _)| text.len()).sum();
        for cut in 0..=length {
            assert_eq!(
                bare(&all, cut),
                [false, false, true, false, false, true],
                "cut at {cut}"
            );
        }
    }
}
