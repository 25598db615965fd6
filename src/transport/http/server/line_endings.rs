//! The ends of the lines of a head of HTTP/1. The library takes LF alone for an end, as some clients want and some
//! proxies do not: where the two disagree, a request can be hidden in another. RFC 9112, section 2.2.

/// The lines of one head, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct LineEndings {
    /// Whether the last byte was CR.
    is_at_cr: bool,
    /// Whether the line so far has more than its end.
    has_content: bool,
    /// Empty lines before the first one do not count.
    has_begun: bool,
    has_ended: bool,
    is_bare: bool,
}

impl LineEndings {
    /// Goes on with what came, and answers how many bytes belong to the head.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.has_ended {
            let rest = &bytes[taken..];
            let end = rest.iter().position(|&byte| byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            self.has_content |= line.iter().any(|&byte| byte != b'\r');
            self.has_begun |= self.has_content;
            self.is_at_cr = line.last().map_or(self.is_at_cr, |&byte| byte == b'\r');
            taken += line.len();
            if end.is_some() {
                taken += 1;
                self.is_bare |= !self.is_at_cr;
                self.has_ended = self.has_begun && !self.has_content;
                self.has_content = false;
                self.is_at_cr = false;
            }
        }
        taken
    }

    /// Whether the empty line has come that ends the head.
    pub(super) fn have_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether one ended with LF alone.
    pub(super) fn are_bare(&self) -> bool {
        self.is_bare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_bare(head: &[u8]) -> bool {
        (0..=head.len()).any(|cut| {
            let mut lines = LineEndings::default();
            let taken = lines.read(&head[..cut]) + lines.read(&head[cut..]);
            assert!(lines.have_ended() && head[..taken].ends_with(b"\n"));
            lines.are_bare()
        })
    }

    #[test]
    fn lf_alone_is_found_wherever_it_is_and_bodies_are_let_be() {
        for good in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: a\r\n\r\n\n\nbody\n",
        ] {
            assert!(!are_bare(good));
        }
        for bad in [
            &b"GET / HTTP/1.1\nhost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nhost: a\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\n\n",
        ] {
            assert!(are_bare(bad));
        }
    }
}
