//! Which Debian mirror this machine's own apt uses.

use std::fs;
use std::path::{Path, PathBuf};

use super::RootfsError;

/// Where apt keeps its sources.
const APT: &str = "/etc/apt";

/// Debian's keys, as its package debian-archive-keyring installs them.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites by which an entry is known to be Debian's own: code names and the names that move.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];

/// A mirror and the keys its lists are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The archive, such as apt's `URIs` gives it.
    pub uri: String,
    /// Key rings that may sign it; none leaves it to apt's trusted ones.
    pub keyring: Option<PathBuf>,
}

impl Mirror {
    /// A mirror given by hand.
    pub fn at(uri: &str) -> Self {
        let keyring = Path::new(DEBIAN_KEYRING).is_file().then(|| DEBIAN_KEYRING.into());
        Self {
            uri: uri.to_owned(),
            keyring,
        }
    }

    /// The mirror that apt is set up with here.
    pub fn of_this_machine() -> Result<Self, RootfsError> {
        let texts = sources(Path::new(APT))?;
        let found = texts
            .iter()
            .find_map(|(path, text)| match path.extension()?.to_str()? {
                "sources" => deb822(text),
                _ => one_line(text),
            });
        let found = found.ok_or(RootfsError::NoMirror)?;
        Ok(Self {
            keyring: found.keyring.or_else(|| Self::at("").keyring),
            ..found
        })
    }
}

/// The files of sources that apt reads, with their paths, in its order.
fn sources(apt: &Path) -> Result<Vec<(PathBuf, String)>, RootfsError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|kind| kind == "sources" || kind == "list")
        {
            paths.push(path);
        }
    }
    paths.sort();
    let list = apt.join("sources.list");
    if list.is_file() {
        paths.insert(0, list);
    }
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(RootfsError::Io {
            operation: "read",
            path,
            source,
        }),
    };
    paths.into_iter().map(read).collect()
}

/// The first entry for Debian in a file of paragraphs (sources.list(5), "DEB822-STYLE FORMAT").
fn deb822(text: &str) -> Option<Mirror> {
    paragraphs(text).into_iter().find_map(|fields| {
        let field = |name: &str| {
            let known = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            known.map_or("", |(_, value)| value.as_str())
        };
        let words = |name: &str| {
            field(name)
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let off = ["no", "false", "0", "off", "disable", "without"]
            .contains(&field("Enabled").to_lowercase().as_str());
        let suites = words("Suites");
        if off || !words("Types").contains(&"deb".to_owned()) || !is_debian(suites.iter().map(String::as_str))
        {
            return None;
        }
        let key = field("Signed-By").trim();
        let keyring = key
            .starts_with('/')
            .then(|| key.split([' ', ',']).next().unwrap_or(key).into());
        Some(Mirror {
            uri: words("URIs").into_iter().next()?,
            keyring,
        })
    })
}

/// The paragraphs of a deb822 file: fields with the lines that continue them.
fn paragraphs(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(fields) = all.last_mut() else { continue };
        if line.trim().is_empty() {
            all.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    all
}

/// The first entry for Debian in a file of one-line entries (sources.list(5), "ONE-LINE-STYLE FORMAT").
fn one_line(text: &str) -> Option<Mirror> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb")?;
        let rest = rest.starts_with([' ', '\t', '[']).then(|| rest.trim_start())?;
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        if !is_debian([suite]) {
            return None;
        }
        let signed = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        let keyring = signed.map(|list| list.split(',').next().unwrap_or(list).into());
        Some(Mirror {
            uri: uri.to_owned(),
            keyring,
        })
    })
}

/// Whether these are suites of Debian's main archive; its security and update suites are elsewhere or incomplete.
fn is_debian<'a>(suites: impl IntoIterator<Item = &'a str>) -> bool {
    suites.into_iter().any(|suite| SUITES.contains(&suite))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uri: &str, keyring: Option<&str>) -> Option<Mirror> {
        Some(Mirror {
            uri: uri.to_owned(),
            keyring: keyring.map(PathBuf::from),
        })
    }

    #[test]
    fn paragraphs_are_read() {
        let text = "# a comment\nTypes: deb deb-src\nURIs: https://mirror.example/debian\n  https://other.example/\n\
                    Suites: trixie trixie-updates\nComponents: main\nSigned-By: /usr/share/keyrings/a.gpg\n";
        assert_eq!(
            deb822(text),
            mirror("https://mirror.example/debian", Some("/usr/share/keyrings/a.gpg"))
        );
    }

    #[test]
    fn other_archives_and_disabled_entries_are_passed_over() {
        let text = "Types: deb\nURIs: https://a.example/\nSuites: noble\n\n\
                    Types: deb\nURIs: https://b.example/\nSuites: trixie\nEnabled: no\n\n\
                    Types: deb-src\nURIs: https://c.example/\nSuites: trixie\n\n\
                    Types: deb\nURIs: https://d.example/\nSuites: bookworm-security\n\n\n\
                    Types: deb\nURIs: https://e.example/\nSuites: bookworm\nSigned-By:\n -----BEGIN PGP\n";
        assert_eq!(deb822(text), mirror("https://e.example/", None));
        assert_eq!(
            one_line("deb https://a.example noble main\n#deb https://b.example trixie main\n"),
            None
        );
    }

    #[test]
    fn one_line_entries_are_read() {
        let text = "deb-src https://s.example/ sid main\ndeb [arch=amd64 signed-by=/k.gpg] https://m.example/ sid main\n";
        assert_eq!(one_line(text), mirror("https://m.example/", Some("/k.gpg")));
        assert_eq!(
            one_line("deb\thttps://m.example/debian stable main"),
            mirror("https://m.example/debian", None)
        );
    }

    #[test]
    fn every_file_of_sources_is_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let parts = dir.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        for (path, text) in [
            (dir.path().join("sources.list"), "one"),
            (parts.join("b.list"), "three"),
            (parts.join("a.sources"), "two"),
            (parts.join("c.sources.disabled"), "none"),
        ] {
            fs::write(path, text).unwrap();
        }
        let texts: Vec<_> = sources(dir.path())
            .unwrap()
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(texts, ["one", "two", "three"]);
    }
}
