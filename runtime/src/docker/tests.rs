use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Json, Runtime, change, read, remove_from};

fn runtime() -> Runtime {
    Runtime {
        name: "runsc".into(),
        path: "/usr/bin/runsc".into(),
        args: vec!["--network=none".into()],
        clobber: true,
        experimental: false,
        cgroup_driver: None,
    }
}

/// A directory for one test, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("runsc-docker-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("daemon.json")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn install(path: &std::path::Path, runtime: &Runtime) -> crate::error::Result<bool> {
    change(path, |config| runtime.add_to(config))
}

#[test]
fn the_rest_of_the_file_stays() {
    let place = Place::new("merge");
    let path = place.file();
    let text = "{\"zeta\": [1, 2.5, {\"b\": null, \"a\": true}],\n \"runtimes\": {\"kata\": {\"path\": \"/k\"}}, \"alpha\": \"\u{e4}\"}";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(install(&path, &runtime()).unwrap());
    let after = std::fs::read_to_string(&path).unwrap();
    let at = |what: &str| after.find(what).unwrap_or_else(|| panic!("{what}: {after}"));
    assert!(at("zeta") < at("kata") && at("kata") < at("\"runsc\"") && at("\"runsc\"") < at("alpha"));
    assert!(at("\"b\"") < at("\"a\"") && after.contains("2.5") && after.contains('\u{e4}'));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!install(&path, &runtime()).unwrap(), "nothing to do the second time");
    assert!(
        change(&path, |config| {
            remove_from(config, "runsc");
            Ok(())
        })
        .unwrap()
    );
    let before: Json = serde_json::from_str(text).unwrap();
    assert_eq!(read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_new_file_and_its_end() {
    let place = Place::new("new");
    let path = place.0.join("made").join("daemon.json");
    let wanted = Runtime { experimental: true, cgroup_driver: Some("systemd".into()), ..runtime() };
    assert!(install(&path, &wanted).unwrap());
    let config = read(&path).unwrap();
    assert_eq!(config.get("experimental"), Some(&Json::Scalar(true.into())));
    assert_eq!(config.get("exec-opts"), Some(&Json::Array(vec![Json::text("native.cgroupdriver=systemd")])));
    let mut config = Json::Object(vec![("default-runtime".into(), Json::text("runsc"))]);
    runtime().add_to(&mut config).unwrap();
    remove_from(&mut config, "runsc");
    assert!(config.is_empty());
}

#[test]
fn broken_files_are_refused_with_the_place() {
    let place = Place::new("broken");
    let path = place.file();
    for (text, wanted) in [
        ("{\"a\": 1,\n  \"b\": }", "daemon.json:2:8: "),
        ("{\"a\": 1, \"a\": 2}", "\"a\" is there twice"),
        ("[]", "not a JSON object"),
        ("{\"runtimes\": []}", "\"runtimes\" is not an object"),
        ("{} x", "daemon.json:1:4: "),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = install(&path, &runtime()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let place = Place::new("odd");
    // Opening a pipe would wait for ever, and the other end of this one is nobody.
    let pipe = place.file();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe, place.0.clone()] {
        let error = install(&path, &runtime()).unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{error}");
    }
}

#[test]
fn another_runtime_of_the_name() {
    let place = Place::new("clobber");
    let path = place.file();
    std::fs::write(&path, "{\"runtimes\": {\"runsc\": {\"path\": \"/old\"}}}").unwrap();
    let careful = Runtime { clobber: false, ..runtime() };
    assert!(install(&path, &careful).unwrap_err().to_string().contains("another runtime"));
    assert!(install(&path, &runtime()).unwrap());
    assert!(!install(&path, &careful).unwrap());
}
