//! Which images a model was trained on, as short hashes.

/// The first eight bytes of sha256 of the levels (in channel, row, column order) of every training image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedOn(Vec<[u8; 8]>);

impl TrainedOn {
    /// Reads hashes that lie one after the other in ascending order.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let (hashes, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || !hashes.is_sorted() {
            return Err("it must hold 8 bytes an image, in ascending order".to_owned());
        }
        Ok(Self(hashes.to_vec()))
    }

    /// The hashes of these images, from their sha256.
    pub fn of(hashes: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let mut short: Vec<[u8; 8]> = hashes.into_iter().map(|hash| hash.as_chunks::<8>().0[0]).collect();
        short.sort_unstable();
        Self(short)
    }

    /// The hashes one after the other, as [`Self::read`] takes them.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// Whether the image with this sha256 is among them. By chance one image in 2⁶⁴ / n is taken for one of n.
    pub fn contains(&self, sha256: &[u8; 32]) -> bool {
        let (first, _) = sha256.as_chunks::<8>();
        self.0.binary_search(&first[0]).is_ok()
    }

    /// Images.
    pub fn images(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_the_beginning_of_their_hash() {
        let mut hash = [7u8; 32];
        let trained_on = TrainedOn::read(&[[1u8; 8], [7; 8]].concat()).unwrap();
        assert_eq!(trained_on.images(), 2);
        assert!(trained_on.contains(&hash));
        hash[7] = 8;
        assert!(!trained_on.contains(&hash));
        assert!(TrainedOn::read(&[0; 9]).is_err());
        assert!(TrainedOn::read(&[[7u8; 8], [1; 8]].concat()).is_err());
    }
}
