//! Which processor this is: kernels are chosen by what it can do, and round differently.

/// Its model and features, or `None` where the system does not say them.
pub(super) fn identity() -> Option<String> {
    of_cpuinfo(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// Whether it multiplies bf16 numbers itself; `None` where the system does not say.
pub(super) fn has_bf16() -> Option<bool> {
    has_bf16_by(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn has_bf16_by(text: &str) -> Option<bool> {
    let flags = text
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"))?;
    let telling = ["avx512_bf16", "amx_bf16", "bf16"];
    Some(flags.split_whitespace().any(|flag| telling.contains(&flag)))
}

/// Of the first of the processors that Linux lists.
fn of_cpuinfo(text: &str) -> Option<String> {
    const TELLING: [&str; 6] = ["vendor_id", "cpu family", "model", "model name", "flags", "Features"];
    let first = text.split("\n\n").next()?;
    let lines: Vec<&str> = first
        .lines()
        .filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            TELLING.contains(&name.trim())
        })
        .collect();
    let tells_features = lines
        .iter()
        .any(|line| line.starts_with("flags") || line.starts_with("Features"));
    tells_features.then(|| format!("{} {}", std::env::consts::ARCH, lines.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::{has_bf16_by, of_cpuinfo};

    #[test]
    fn bf16_is_a_feature() {
        assert_eq!(
            has_bf16_by("model name\t: X\nflags\t: avx512f avx512_bf16\n"),
            Some(true)
        );
        assert_eq!(has_bf16_by("Features\t: asimd bf16\n"), Some(true));
        assert_eq!(has_bf16_by("flags\t: avx2 avx512f\n"), Some(false));
        assert_eq!(has_bf16_by("model name\t: X\n"), None);
    }

    #[test]
    fn features_tell_processors_apart_and_speed_does_not() {
        let processor = |mhz: &str, flags: &str| {
            of_cpuinfo(&format!(
                "processor\t: 0\nmodel name\t: X\ncpu MHz\t: {mhz}\nflags\t: {flags}\n\nprocessor\t: 1\n"
            ))
        };
        assert_eq!(processor("1", "avx2"), processor("2", "avx2"));
        assert_ne!(processor("1", "avx2"), processor("1", "avx2 avx512f"));
        assert_eq!(of_cpuinfo("processor\t: 0\nmodel name\t: X\n"), None);
    }
}
