//! Hostile and honest agents, and the files that result.

use std::fs;

use bridge_proto::v1::{AllThere, Directory, VolumeBegins, VolumeEnds};
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::files::tree::root;

fn unpack() -> (TempDir, Unpack) {
    let place = tempfile::tempdir().unwrap();
    let unpack = Unpack::into(place.path()).unwrap();
    (place, unpack)
}

fn begins(path: &str) -> Kind {
    Kind::Begins(VolumeBegins { path: path.into() })
}

fn entry(path: &str, kind: Option<file_entry::Kind>) -> Kind {
    Kind::Entry(FileEntry { path: path.into(), mode: 0o644, kind })
}

fn file(path: &str) -> Kind {
    entry(path, None)
}

fn directory(path: &str) -> Kind {
    entry(path, Some(file_entry::Kind::Directory(Directory {})))
}

fn link(path: &str, target: &str) -> Kind {
    entry(path, Some(file_entry::Kind::Link(target.into())))
}

fn content(text: &'static str) -> Kind {
    Kind::Content(Bytes::from_static(text.as_bytes()))
}

fn tell(unpack: &mut Unpack, messages: Vec<Kind>) -> Result<Heard, UnpackError> {
    let mut heard = Heard::More;
    for kind in messages {
        heard = unpack.take(FilesReply { kind: Some(kind) }, Instant::now())?;
    }
    Ok(heard)
}

const ENDS: Kind = Kind::Ends(VolumeEnds {});

#[test]
fn files_are_written_as_sent() {
    let (place, mut unpack) = unpack();
    let mut messages = vec![begins("/etc/shop"), directory(""), directory("..1"), link("..data", "..1")];
    messages.extend([file("..1/menu"), content("tea "), content("and cake"), link("menu", "..data/menu")]);
    messages.extend([file("empty"), ENDS, begins("/etc/one"), file(""), content("1"), ENDS]);
    messages.push(Kind::AllThere(AllThere {}));
    assert_eq!(tell(&mut unpack, messages).unwrap(), Heard::AllThere);
    let at = |path: &str| root(place.path()).join(path);
    assert_eq!(fs::read_to_string(at("etc/shop/menu")).unwrap(), "tea and cake");
    assert_eq!(fs::read_link(at("etc/shop/..data")).unwrap(), Path::new("..1"));
    assert_eq!(fs::read_to_string(at("etc/shop/empty")).unwrap(), "");
    assert_eq!(fs::read_to_string(at("etc/one")).unwrap(), "1");
    let mode = |path: &str| fs::metadata(at(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("etc/shop/menu"), mode("etc/shop"), mode("etc")), (0o644, 0o744, 0o700));
    assert!(!unpack.is_empty());
}

#[test]
fn nothing_hostile_is_written() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let volume = |messages: Vec<Kind>| {
        let mut all = vec![begins("/v"), directory("")];
        all.extend(messages);
        all.push(ENDS);
        all
    };
    let deep = ["d"; 33].join("/");
    for (case, messages) in [
        ("upwards", volume(vec![file("../x")])),
        ("upwards within", volume(vec![directory("d"), file("d/../../x")])),
        ("absolute", volume(vec![file(&format!("{out}/x"))])),
        ("no name", volume(vec![file("d//x")])),
        ("itself", volume(vec![file("./x")])),
        ("a NUL", volume(vec![file("x\0y")])),
        ("through a link", volume(vec![link("out", "in"), file("out/x")])),
        ("through a link that is left out", volume(vec![link("out", out), file("out/x")])),
        ("in the place of a link", volume(vec![link("x", "y"), file("x")])),
        ("through links", volume(vec![link("a", "."), link("b", "a"), file("a/b/x")])),
        ("a directory through a link", volume(vec![link("out", "in"), directory("out/x")])),
        ("deep", volume(vec![directory(&deep)])),
        ("without a directory", volume(vec![file("d/x")])),
        ("twice", volume(vec![file("x"), file("x")])),
        ("content of nothing", volume(vec![directory("d"), content("x")])),
        ("a volume upwards", vec![begins("/../v"), file("")]),
        ("a relative volume", vec![begins("v"), file("")]),
        ("no volume", vec![begins("/"), file("")]),
        ("a volume that is a link", vec![begins("/v"), link("", out), ENDS]),
        ("an entry of nothing", vec![file("x")]),
        ("an end of nothing", vec![ENDS]),
    ] {
        let (place, mut unpack) = unpack();
        let wrong = tell(&mut unpack, messages).expect_err(case);
        assert_eq!(fs::read_dir(root(place.path())).unwrap().count(), 0, "{case}: {wrong}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{case}: {wrong}");
    }
}

#[test]
fn a_volume_within_another_s_link_target_is_refused() {
    let (place, mut unpack) = unpack();
    let to = vec![begins("/v"), directory(""), directory("in"), link("out", "in"), ENDS];
    tell(&mut unpack, to).unwrap();
    tell(&mut unpack, vec![begins("/v/out/x"), file(""), content("x"), ENDS]).unwrap_err();
    assert_eq!(fs::read_dir(root(place.path()).join("v/in")).unwrap().count(), 0);
}

#[test]
fn links_stay_within_their_volume_and_the_others_are_named() {
    for (depth, target, stays) in [
        (0, "..data/token", true),
        (0, ".", true),
        (0, "", true),
        (1, "../x", true),
        (2, "../../x/y", true),
        (0, "./a//b/", true),
        (0, "..", false),
        (1, "../../x", false),
        (0, "/etc/passwd", false),
        (0, "//etc", false),
        (3, "a/..", false),
        (3, "../a/../x", false),
        (0, "./..", false),
    ] {
        assert_eq!(stays_within(depth, target.as_bytes()), stays, "{target:?} at {depth}");
    }
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("id_ed25519");
    fs::write(&secret, "secret").unwrap();
    let (place, mut unpack) = unpack();
    let mut messages = vec![begins("/v"), directory(""), directory("d"), link("d/up", "..")];
    messages.extend([link("absolute", secret.to_str().unwrap()), link("d/through", "up/../../../..")]);
    messages.extend([link("ok", "d/up/file"), file("file"), content("x"), ENDS]);
    tell(&mut unpack, messages).unwrap();
    let left_out: Vec<_> = unpack.left_out.iter().map(|it| (text(&it.path), it.reason())).collect();
    let link = |path: &str| (path.to_owned(), LeftOutReason::Link);
    assert_eq!(left_out, [link("/v/absolute"), link("/v/d/through")]);
    let at = |path: &str| root(place.path()).join("v").join(path);
    assert!(fs::symlink_metadata(at("absolute")).is_err() && fs::symlink_metadata(at("d/through")).is_err());
    assert_eq!(fs::read_to_string(at("ok")).unwrap(), "x");
}

#[test]
fn names_that_steer_a_terminal_are_left_out_with_what_is_below_them() {
    let (place, mut unpack) = unpack();
    let mut messages = vec![begins("/v"), directory(""), file("a\u{1b}[2J"), content("x"), directory("b\n")];
    messages.extend([file("b\n/c"), content("y"), link("d\u{9b}", "x"), file("e"), content("z"), ENDS]);
    tell(&mut unpack, messages).unwrap();
    assert_eq!(unpack.left_out.len(), 4, "{:?}", unpack.left_out);
    assert!(unpack.left_out.iter().all(|it| it.reason() == LeftOutReason::Name));
    let names: Vec<_> = fs::read_dir(root(place.path()).join("v")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn volumes_of_nothing_are_counted_with_the_directories_that_lead_to_them() {
    let (place, mut unpack) = unpack();
    let mut heard = Ok(Heard::More);
    let mut volumes = 0;
    while heard.is_ok() && volumes < MAX_NAMES {
        let deep = format!("/{volumes}/{}", ["d"; MAX_DEPTH - 1].join("/"));
        heard = tell(&mut unpack, vec![begins(&deep), ENDS]);
        volumes += 1;
    }
    assert!(matches!(heard, Err(UnpackError::TooMuch)), "{heard:?}");
    assert!(fs::read_dir(root(place.path())).unwrap().count() <= MAX_NAMES / MAX_DEPTH);
}

#[test]
fn an_omitted_file_takes_no_more_memory_than_its_name() {
    let (_place, mut unpack) = unpack();
    let left_out = LeftOut { path: vec![b'x'; 1 << 20], reason: LeftOutReason::Special.into(), more: 0 };
    tell(&mut unpack, vec![Kind::LeftOut(left_out)]).unwrap();
    assert_eq!(unpack.left_out[0].path.len(), MAX_PATH);
}

#[test]
fn no_more_is_taken_than_agreed_on() {
    let (_place, mut unpack) = unpack();
    let entries = usize::try_from(MAX_ENTRIES).unwrap();
    let many = (1..entries).map(|number| file(&number.to_string()));
    tell(&mut unpack, [begins("/many"), directory("")].into_iter().chain(many).chain([ENDS]).collect())
        .unwrap();
    let one_more = tell(&mut unpack, vec![begins("/v"), directory("")]);
    assert!(matches!(one_more, Err(UnpackError::TooMuch)), "{one_more:?}");
    // The same volume again does not count twice.
    tell(&mut unpack, vec![begins("/many"), directory(""), ENDS]).unwrap();

    tell(&mut unpack, vec![begins("/large"), file("")]).unwrap();
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..MAX_BYTES >> 20 {
        tell(&mut unpack, vec![Kind::Content(megabyte.clone())]).unwrap();
    }
    assert!(matches!(tell(&mut unpack, vec![content("x")]), Err(UnpackError::TooMuch)));
}

#[test]
fn files_of_a_volume_that_begins_again_do_not_count() {
    let (place, mut unpack) = unpack();
    let left_out = |reason: LeftOutReason| {
        Kind::LeftOut(LeftOut { path: b"/v/x".to_vec(), reason: reason.into(), more: 0 })
    };
    let attempt = || vec![begins("/v"), directory(""), file("a"), left_out(LeftOutReason::Special)];
    tell(&mut unpack, attempt()).unwrap();
    tell(&mut unpack, attempt()).unwrap();
    assert!(unpack.is_empty());
    tell(&mut unpack, vec![left_out(LeftOutReason::Changing)]).unwrap();
    assert_eq!(unpack.left_out.len(), 1, "that it does not hold still counts");
    assert!(!root(place.path()).join("v").exists());
}
