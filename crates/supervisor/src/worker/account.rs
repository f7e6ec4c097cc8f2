//! Who workers are, if they are to be somebody else than the supervisor.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

/// A user and perhaps a group, by name or number, as `NAME`, `UID:GID` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerUser {
    user: String,
    group: Option<String>,
}

/// What a worker becomes.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: Uid,
    pub group: Gid,
    /// All groups, that one among them.
    pub groups: Vec<Gid>,
    /// Its entry in the system's list of users.
    pub entry: Option<Entry>,
}

/// What a login would put into the environment.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub home: PathBuf,
    pub shell: PathBuf,
}

/// What it takes, as capabilities(7) numbers it.
const NEEDED: [(u32, &str); 3] = [(5, "CAP_KILL"), (6, "CAP_SETGID"), (7, "CAP_SETUID")];

impl FromStr for WorkerUser {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains([':', ' ', '\0']);
        match is_name(user) && group.is_none_or(is_name) {
            true => Ok(WorkerUser { user: user.to_owned(), group: group.map(str::to_owned) }),
            false => Err("a user is a name or a number, and may have a group behind a colon"),
        }
    }
}

impl fmt::Display for WorkerUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => f.write_str(&self.user),
        }
    }
}

impl Account {
    /// Looks a user up, and whether this process may become it.
    ///
    /// # Errors
    /// If there is no such user or group, if it is no protection, or if it is not permitted.
    pub fn find(named: &WorkerUser) -> anyhow::Result<Self> {
        let context = || format!("workers cannot be the user {named}");
        let account = find(named).with_context(context)?;
        if account.user.is_root() {
            return Err(anyhow!("root may do everything to its supervisor")).with_context(context);
        }
        if account.user == geteuid() {
            return Err(anyhow!("the supervisor is that user itself")).with_context(context);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let missing = missing(&status);
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(anyhow!("the supervisor must be root or have {missing}"))
                .with_context(context);
        }
        Ok(account)
    }
}

fn find(named: &WorkerUser) -> anyhow::Result<Account> {
    let entry = match named.user.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number))?,
        Err(_) => User::from_name(&named.user)?,
    };
    let user = match (&entry, named.user.parse()) {
        (Some(entry), _) => entry.uid,
        (None, Ok(number)) => Uid::from_raw(number),
        (None, Err(_)) => bail!("there is no user '{}'", named.user),
    };
    let group = match (&named.group, &entry) {
        (Some(name), _) => group(name)?,
        (None, Some(entry)) => entry.gid,
        (None, None) => bail!("user {user} has no entry, so its group must be named: {user}:GROUP"),
    };
    let groups = match &entry {
        Some(entry) => getgrouplist(&CString::new(entry.name.as_str())?, group)?,
        None => vec![group],
    };
    let entry = entry.map(|entry| Entry { name: entry.name, home: entry.dir, shell: entry.shell });
    Ok(Account { user, group, groups, entry })
}

/// A group by its name or number.
///
/// # Errors
/// If there is none of that name.
pub fn group(name: &str) -> anyhow::Result<Gid> {
    match name.parse() {
        Ok(number) => Ok(Gid::from_raw(number)),
        Err(_) => match Group::from_name(name)? {
            Some(found) => Ok(found.gid),
            None => bail!("there is no group '{name}'"),
        },
    }
}

/// A user by its name or number.
///
/// # Errors
/// If there is none of that name.
pub fn user(name: &str) -> anyhow::Result<Uid> {
    match name.parse() {
        Ok(number) => Ok(Uid::from_raw(number)),
        Err(_) => match User::from_name(name)? {
            Some(found) => Ok(found.uid),
            None => bail!("there is no user '{name}'"),
        },
    }
}

/// What of it this process does not have in effect (proc(5), status).
fn missing(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|held| u64::from_str_radix(held.trim(), 16).ok()).unwrap_or(0);
    let is_missing = |(number, _): &&(u32, &str)| held >> number & 1 == 0;
    NEEDED.iter().filter(is_missing).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_written() {
        for text in ["www-data", "1000", "app:web", "1000:1000"] {
            assert_eq!(text.parse::<WorkerUser>().unwrap().to_string(), text);
        }
        for text in ["", ":", "app:", ":web", "a:b:c", "a b"] {
            assert!(text.parse::<WorkerUser>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_is_found_with_all_its_groups() {
        let find = |text: &str| find(&text.parse().unwrap());
        let root = find("root").unwrap();
        assert_eq!((root.user, root.group), (Uid::from_raw(0), Gid::from_raw(0)));
        assert!(root.groups.contains(&root.group) && root.entry.unwrap().name == "root");
        let other = find("0:12345").unwrap();
        assert_eq!(other.group, Gid::from_raw(12345));
        assert!(other.groups.contains(&other.group));
        let unknown = find("4000000:4000001").unwrap();
        assert_eq!(unknown.groups, [Gid::from_raw(4_000_001)]);
        assert!(unknown.entry.is_none());
        for (text, why) in [
            ("4000000", "its group must be named"),
            ("no-such-user", "no user 'no-such-user'"),
            ("root:no-such-group", "no group 'no-such-group'"),
        ] {
            let told = find(text).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing("Name:\tx\nCapEff:\t00000000000000e0\n"), [""; 0]);
        assert_eq!(missing("CapEff:\t0000000000000040\n"), ["CAP_KILL", "CAP_SETUID"]);
        assert_eq!(missing("").len(), 3);
    }

    #[test]
    fn root_is_no_protection() {
        let told = Account::find(&"0".parse().unwrap()).unwrap_err();
        assert!(format!("{told:#}").contains("root may do everything"), "{told:#}");
    }
}
