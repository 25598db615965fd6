//! The little linear algebra that densities of statistics need. Matrices are square, row-major, of some tens of rows.

/// Lower Cholesky factor of a symmetric matrix; `None` if it is not positive definite.
pub(super) fn cholesky(matrix: &[f64], size: usize) -> Option<Vec<f64>> {
    let mut factor = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            let dot: f64 = (0..column)
                .map(|k| factor[row * size + k] * factor[column * size + k])
                .sum();
            let rest = matrix[row * size + column] - dot;
            factor[row * size + column] = if row == column {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / factor[column * size + column]
            };
        }
    }
    Some(factor)
}

/// The inverse of a lower triangular matrix with no zero on its diagonal.
pub(super) fn invert_lower(factor: &[f64], size: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; size * size];
    for column in 0..size {
        for row in column..size {
            let dot: f64 = (column..row)
                .map(|k| factor[row * size + k] * inverse[k * size + column])
                .sum();
            let unit = if row == column { 1.0 } else { 0.0 };
            inverse[row * size + column] = (unit - dot) / factor[row * size + row];
        }
    }
    inverse
}

/// Eigenvectors of a symmetric matrix as rows, with their eigenvalues, largest first (Jacobi's method: cyclic rotations
/// until what lies off the diagonal is negligible).
pub(crate) fn eigenvectors(matrix: &[f64], size: usize) -> Vec<(f64, Vec<f64>)> {
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; size * size];
    for i in 0..size {
        vectors[i * size + i] = 1.0;
    }
    let scale: f64 = a.iter().map(|x| x * x).sum();
    for _sweep in 0..64 {
        let off: f64 = (0..size)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * size + j] * a[i * size + j])
            .sum();
        if off <= 1e-24 * scale {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut a, &mut vectors, size, p, q);
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> = (0..size)
        .map(|i| (a[i * size + i], vectors[i * size..(i + 1) * size].to_vec()))
        .collect();
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    pairs
}

/// Turns rows and columns p and q so that their common entry vanishes; `vectors` holds the eigenvectors as rows.
fn rotate(a: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let common = a[p * size + q];
    if common == 0.0 {
        return;
    }
    let theta = (a[q * size + q] - a[p * size + p]) / (2.0 * common);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let t = if theta == 0.0 { 1.0 } else { t };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for k in 0..size {
        let (x, y) = (a[k * size + p], a[k * size + q]);
        a[k * size + p] = c * x - s * y;
        a[k * size + q] = s * x + c * y;
    }
    for k in 0..size {
        let (x, y) = (a[p * size + k], a[q * size + k]);
        a[p * size + k] = c * x - s * y;
        a[q * size + k] = s * x + c * y;
        let (x, y) = (vectors[p * size + k], vectors[q * size + k]);
        vectors[p * size + k] = c * x - s * y;
        vectors[q * size + k] = s * x + c * y;
    }
}

/// Mean and covariance of points, which must be at least one.
pub(crate) fn moments(points: &[Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let (count, size) = (points.len() as f64, points[0].len());
    let mut mean = vec![0.0; size];
    for point in points {
        for (sum, value) in mean.iter_mut().zip(point) {
            *sum += value / count;
        }
    }
    let mut covariance = vec![0.0; size * size];
    for point in points {
        for i in 0..size {
            let a = (point[i] - mean[i]) / count;
            for j in 0..=i {
                covariance[i * size + j] += a * (point[j] - mean[j]);
            }
        }
    }
    mirror(&mut covariance, size);
    (mean, covariance)
}

/// Copies the lower triangle onto the upper.
pub(super) fn mirror(matrix: &mut [f64], size: usize) {
    for i in 0..size {
        for j in 0..i {
            matrix[j * size + i] = matrix[i * size + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: [f64; 9] = [4.0, 1.0, -0.5, 1.0, 3.0, 0.2, -0.5, 0.2, 2.0];

    #[test]
    fn factors_multiply_back() {
        let factor = cholesky(&MATRIX, 3).unwrap();
        let inverse = invert_lower(&factor, 3);
        for i in 0..3 {
            for j in 0..3 {
                let dot = |a: &[f64], b: &dyn Fn(usize) -> f64| (0..3).map(|k| a[k] * b(k)).sum::<f64>();
                let back = dot(&factor[i * 3..], &|k| factor[j * 3 + k]);
                assert!((back - MATRIX[i * 3 + j]).abs() < 1e-12);
                let unit = dot(&inverse[i * 3..], &|k| factor[k * 3 + j]);
                assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        assert!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
    }

    #[test]
    fn eigenvectors_are_stretched_and_nothing_else() {
        let pairs = eigenvectors(&MATRIX, 3);
        assert!(pairs[0].0 >= pairs[1].0 && pairs[1].0 >= pairs[2].0);
        let trace: f64 = pairs.iter().map(|(value, _)| value).sum();
        assert!((trace - 9.0).abs() < 1e-12);
        for (value, vector) in pairs {
            for i in 0..3 {
                let image: f64 = (0..3).map(|j| MATRIX[i * 3 + j] * vector[j]).sum();
                assert!((image - value * vector[i]).abs() < 1e-10);
            }
        }
    }
}
