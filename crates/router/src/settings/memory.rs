//! How much memory this process may use, as far as the system says.

use std::fs;
use std::path::{Path, PathBuf};

/// The part of it that clients may make the pool hold, unless the operator chooses.
const PART: u64 = 4;

/// What clients may make the pool hold: a quarter of what the machine has, or of what the control
/// group of this process, or one above it, may use if that is less. No bound if the system does not
/// tell.
pub fn share_bytes() -> usize {
    let system = System { root: Path::new("/") };
    let share = system.available_bytes().map_or(u64::MAX, |bytes| bytes / PART);
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// The system's files, below some folder.
struct System<'a> {
    root: &'a Path,
}

impl System<'_> {
    fn available_bytes(&self) -> Option<u64> {
        [self.machine(), self.group()].into_iter().flatten().min()
    }

    /// proc(5), meminfo.
    fn machine(&self) -> Option<u64> {
        let text = self.read("proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// cgroups(7): the least of this group's limit and those above it. In a container its own group
    /// may be shown as the root.
    fn group(&self) -> Option<u64> {
        let text = self.read("proc/self/cgroup")?;
        let limits = text.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_start_matches('/');
            match controllers {
                "" => self.least("sys/fs/cgroup", path, "memory.max"),
                all if all.split(',').any(|one| one == "memory") => {
                    self.least("sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
                }
                _ => None,
            }
        });
        limits.min()
    }

    fn least(&self, mount: &str, path: &str, file: &str) -> Option<u64> {
        let group = PathBuf::from(path);
        let groups = group.ancestors().filter_map(|group| {
            let text = self.read(Path::new(mount).join(group).join(file))?;
            // "max", or what is more than any machine has, is no limit.
            text.trim().parse().ok()
        });
        groups.min()
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        2000 kB\nMemFree: 1 kB\n");

    fn available(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        System { root: root.path() }.available_bytes()
    }

    #[test]
    fn without_a_control_group_it_is_what_the_machine_has() {
        assert_eq!(available(&[MEMINFO]), Some(2000 * 1024));
        let unlimited = ("sys/fs/cgroup/app/memory.max", "max\n");
        assert_eq!(
            available(&[MEMINFO, ("proc/self/cgroup", "0::/app\n"), unlimited]),
            Some(2048000)
        );
        assert_eq!(available(&[]), None);
    }

    #[test]
    fn the_narrowest_of_the_groups_counts() {
        let group = ("proc/self/cgroup", "0::/system.slice/app.service\n");
        let own = ("sys/fs/cgroup/system.slice/app.service/memory.max", "1000000\n");
        assert_eq!(available(&[MEMINFO, group, own]), Some(1_000_000));
        let above = ("sys/fs/cgroup/system.slice/memory.max", "900000\n");
        assert_eq!(available(&[MEMINFO, group, own, above]), Some(900_000));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let group = ("proc/self/cgroup", "0::/\n");
        let root = ("sys/fs/cgroup/memory.max", "800000\n");
        assert_eq!(available(&[MEMINFO, group, root]), Some(800_000));
        let group = ("proc/self/cgroup", "0::/../../docker/abc\n");
        assert_eq!(available(&[MEMINFO, group, root]), Some(800_000));
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let group = ("proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/docker/abc\n0::/\n");
        let own = ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "700000\n");
        let root = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available(&[MEMINFO, group, own, root]), Some(700_000));
        assert_eq!(available(&[MEMINFO, group, root]), Some(2000 * 1024));
    }
}
