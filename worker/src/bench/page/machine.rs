//! The machine that figures were measured on, in a phrase that says nothing about whose it is.

/// Cores, memory, kernel.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let memory = memory_gib(&read("/proc/meminfo")).map(|gib| format!(", {gib} GiB of memory"));
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = version(&release).map(|version| format!(", Linux {version}"));
    format!("{cores} cores{}{}", memory.unwrap_or_default(), kernel.unwrap_or_default())
}

fn memory_gib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kib + (1 << 19)) >> 20)
}

/// Two numbers of it: what follows them may name who built it.
fn version(release: &str) -> Option<String> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(memory_gib("MemTotal:       24683532 kB\nMemFree: 1 kB"), Some(24));
        assert_eq!(version("6.12.5-cloud-of-somebody+"), Some("6.12".into()));
        assert_eq!((memory_gib(""), version("")), (None, None));
    }
}
