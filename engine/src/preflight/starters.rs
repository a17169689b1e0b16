//! Who else starts guests on a host: Debian's `xendomains`, by what stands in `/etc/xen/auto`, and Pacemaker's own agent
//! for Xen, by what its configuration names. Each would start a guest that another host has taken over.
//!
//! ```text
//!   etc/xen/auto/web ──────────────────────────► a configuration of xl ──► name = "web"
//!   var/lib/pacemaker/cib/cib.xml ─► <primitive … type="Xen"> ─► xmfile ──┘
//! ```

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

const AUTO: &str = "etc/xen/auto";
const CIB: &str = "var/lib/pacemaker/cib/cib.xml";

/// A configuration of more bytes is none of these.
const BYTES_MAX: u64 = 16 << 20;

/// Names of the guests that are started with the host. `root` is `/`, or a test's.
pub(super) fn autostarted(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(AUTO)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(told(AUTO, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| told(AUTO, &error))?.path();
        names.extend(domain_of(&path));
    }
    names.sort_unstable();
    Ok(names)
}

/// Names of the guests that Pacemaker's agent for Xen looks after.
pub(super) fn in_pacemaker(root: &Path) -> io::Result<Vec<String>> {
    let text = match read(&root.join(CIB)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(told(CIB, &error)),
    };
    let resources = text.split("<primitive").skip(1).filter(|resource| {
        let head = resource.split('>').next().unwrap_or_default();
        head.contains("type=\"Xen\"") && head.contains("provider=\"heartbeat\"")
    });
    let name = |resource: &str| match parameter(resource, "name") {
        Some(name) => Some(name.to_owned()),
        None => {
            let path = Path::new(parameter(resource, "xmfile")?);
            domain_of(&root.join(path.strip_prefix("/").unwrap_or(path)))
        }
    };
    Ok(resources.filter_map(name).collect())
}

fn told(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/{path} cannot be read: {error}"))
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The domain of a configuration of xl: as it says, or by the file's own name.
fn domain_of(config: &Path) -> Option<String> {
    let said = read(config).ok().and_then(|text| text.lines().find_map(name_in));
    said.or_else(|| Some(config.file_stem()?.to_string_lossy().into_owned()))
}

/// `name = "web"`, in either kind of quotes.
fn name_in(line: &str) -> Option<String> {
    let value = line.trim_start().strip_prefix("name")?.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|first| ['"', '\''].contains(first))?;
    Some(value[1..].split_once(quote)?.0.to_owned())
}

/// `<nvpair id="…" name="xmfile" value="…"/>`, the attributes in any order.
fn parameter<'t>(resource: &'t str, name: &str) -> Option<&'t str> {
    let resource = resource.split("</primitive>").next()?;
    let pair = resource.split("<nvpair").skip(1).find(|pair| attribute(pair, "name") == Some(name))?;
    attribute(pair, "value")
}

fn attribute<'t>(element: &'t str, name: &str) -> Option<&'t str> {
    let element = element.split('>').next()?;
    let value = element.split_once(&format!(" {name}=\""))?.1;
    Some(value.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_in_xen_auto_go_by_the_name_that_they_have_not_by_the_file() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(autostarted(root.path()).unwrap(), Vec::<String>::new());
        let auto = root.path().join(AUTO);
        fs::create_dir_all(&auto).unwrap();
        fs::write(auto.join("10-web.cfg"), "memory = 64\n  name = 'web'\n").unwrap();
        fs::write(auto.join("db"), "name=\"db-1\" # the first\n").unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", auto.join("mail.cfg")).unwrap();
        assert_eq!(autostarted(root.path()).unwrap(), ["db-1", "mail", "web"]);
    }

    #[test]
    fn guests_of_pacemakers_agent_are_found_by_name_or_configuration() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(in_pacemaker(root.path()).unwrap(), Vec::<String>::new());
        fs::create_dir_all(root.path().join("var/lib/pacemaker/cib")).unwrap();
        fs::create_dir_all(root.path().join("etc/xen")).unwrap();
        fs::write(root.path().join("etc/xen/web.cfg"), "name = \"web\"\n").unwrap();
        let cib = r#"<cib><resources>
            <primitive id="ip" class="ocf" provider="heartbeat" type="IPaddr2">
              <instance_attributes><nvpair id="1" name="name" value="nobody"/></instance_attributes></primitive>
            <primitive class="ocf" id="one" provider="heartbeat" type="Xen">
              <instance_attributes id="i"><nvpair id="2" name="xmfile" value="/etc/xen/web.cfg"/></instance_attributes>
            </primitive>
            <primitive id="two" class="ocf" provider="heartbeat" type="Xen"><instance_attributes id="j">
              <nvpair value="/etc/xen/x" name="xmfile" id="3"/><nvpair id="4" name="name" value="db"/>
            </instance_attributes></primitive>
            <primitive id="rest" class="ocf" provider="heartbeat" type="Xen"/><primitive id="
            "#;
        fs::write(root.path().join(CIB), cib).unwrap();
        assert_eq!(in_pacemaker(root.path()).unwrap(), ["web", "db"]);
    }
}
