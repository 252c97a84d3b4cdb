//! What a guest does with files.

use std::os::unix::fs::MetadataExt;

use abi::{Errno, OpenFlags};
use kernel::mm::{Access, Backing, Mappable};
use kernel::vfs::{
    FileOps, Inode, RenameFlags, SeekExtent, SetAttr, SetXattrFlags, SyncScope, WriteAt, Xattr,
};

use super::{GoferInode, Temp, World};

#[test]
fn content_is_the_hosts() {
    let temp = Temp::new();
    temp.write("f", "hello world");
    let w = World::new(&temp, false);
    let f = w.open("/f", OpenFlags::RDWR).unwrap();
    assert_eq!(f.read(6, 100), "world");
    assert_eq!(f.read(11, 100), "");
    assert_eq!(f.write(WriteAt::Offset(0), "HELLO"), (5, 5));
    assert_eq!(f.write(WriteAt::Append, "!!"), (2, 13));
    assert_eq!(temp.read("f"), "HELLO world!!");
    assert_eq!(w.attr("/f").unwrap().size, 13);
    let again = w.open("/f", OpenFlags::empty()).unwrap();
    assert_eq!(again.read(0, 100), "HELLO world!!");
    assert_eq!(w.open("/f", OpenFlags::RDWR | OpenFlags::TRUNC).map(|_| ()).err(), None);
    assert_eq!((temp.read("f").as_str(), w.attr("/f").unwrap().size), ("", 0));
    let new = w.open("/new", OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR).unwrap();
    new.write(WriteAt::Offset(3), "x");
    assert_eq!(temp.read("new"), "\0\0\0x");
    assert_eq!(new.file.seek_extent(9, SeekExtent::Data), Err(Errno::ENXIO));
    assert_eq!(new.file.seek_extent(0, SeekExtent::Hole), Ok(4));
    new.file.sync(SyncScope::Data).unwrap();
    new.inode.fallocate(0, 0, 8192).unwrap();
    assert_eq!(w.attr("/new").unwrap().size, 8192);
}

#[test]
fn small_reads_again_and_again_show_the_file() {
    let temp = Temp::new();
    temp.write("f", &"x".repeat(8192));
    let w = World::new(&temp, false);
    let f = w.open("/f", OpenFlags::RDWR).unwrap();
    let read_often = |offset, expected: &str| (0..40).all(|_| f.read(offset, 10) == expected);
    assert!(read_often(4096, "xxxxxxxxxx"));
    f.write(WriteAt::Offset(4100), "new");
    assert!(read_often(4096, "xxxxnewxxx"));
    assert!(read_often(8190, "xx"));
    f.write(WriteAt::Append, "more");
    assert!(read_often(8190, "xxmore"));
    // Nobody should, but what is not there any more is not read.
    std::fs::File::options().write(true).open(temp.path("f")).unwrap().set_len(0).unwrap();
    assert!(read_often(4096, ""));
}

#[test]
fn a_file_without_a_name_lives_on() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    let f = w.open("/f", OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
    w.unlink("/f").unwrap();
    f.write(WriteAt::Offset(0), "still here");
    assert_eq!(f.read(6, 4), "here");
    let attr = f.inode.attr().unwrap();
    assert_eq!((attr.nlink, attr.size), (0, 10));
    let cut = SetAttr { size: Some(5), ..SetAttr::default() };
    f.inode.set_attr(&w.caller(), &cut).unwrap();
    assert_eq!(f.read(0, 100), "still");
    let mode = SetAttr { mode: Some(0o600), uid: Some(7), ..SetAttr::default() };
    f.inode.set_attr(&w.caller(), &mode).unwrap();
    assert_eq!((f.inode.attr().unwrap().mode & 0o777, f.inode.attr().unwrap().uid), (0o600, 7));
    // The name can be used again, also if the host gives the new file the old number.
    let g = w.open("/f", OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
    g.write(WriteAt::Offset(0), "new");
    assert_eq!((f.read(0, 9).as_str(), g.read(0, 9).as_str()), ("still", "new"));
}

#[test]
fn names_move_with_what_is_below() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("a/b/c")).unwrap();
    temp.write("a/b/c/f", "text");
    let w = World::new(&temp, false);
    assert_eq!(w.attr("/a/b/c/f").unwrap().size, 4);
    w.mkdir("/d");
    w.rename("/a/b", "/d/moved", RenameFlags::empty()).unwrap();
    assert_eq!(w.find("/a/b").err(), Some(Errno::ENOENT));
    assert_eq!(w.open("/d/moved/c/f", OpenFlags::empty()).unwrap().read(0, 9), "text");
    temp.write("g", "other");
    w.rename("/d/moved/c/f", "/d/f", RenameFlags::empty()).unwrap();
    assert_eq!(w.find("/d/moved/c/f").err(), Some(Errno::ENOENT));
    w.open("/x", OpenFlags::CREAT | OpenFlags::RDWR).unwrap().write(WriteAt::Offset(0), "xx");
    w.rename("/x", "/d/f", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((w.attr("/x").unwrap().size, w.attr("/d/f").unwrap().size), (4, 2));
    assert_eq!((temp.read("x").as_str(), temp.read("d/f").as_str()), ("text", "xx"));
    assert_eq!(w.rename("/x", "/d/f", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    let old = w.open("/d/f", OpenFlags::empty()).unwrap();
    w.rename("/x", "/d/f", RenameFlags::empty()).unwrap();
    assert_eq!((old.read(0, 9).as_str(), old.inode.attr().unwrap().nlink), ("xx", 0));
    assert_eq!(w.attr("/d/f").unwrap().size, 4);
    // A directory that nobody has looked at yet.
    std::fs::create_dir_all(temp.path("fresh/in")).unwrap();
    let w = World::new(&temp, false);
    w.rename("/fresh", "/fresh2", RenameFlags::empty()).unwrap();
    assert!(w.find("/fresh2/in").is_ok());
    assert_eq!(w.find("/fresh").err(), Some(Errno::ENOENT));
}

#[test]
fn links_of_one_file_agree() {
    let temp = Temp::new();
    temp.write("one", "1");
    std::fs::hard_link(temp.path("one"), temp.path("two")).unwrap();
    let w = World::new(&temp, false);
    let (one, two) = (w.find("/one").unwrap(), w.find("/two").unwrap());
    assert!(std::sync::Arc::ptr_eq(one.inode(), two.inode()));
    w.open("/one", OpenFlags::RDWR).unwrap().write(WriteAt::Append, "234");
    assert_eq!((w.attr("/two").unwrap().size, w.attr("/two").unwrap().nlink), (4, 2));
    w.vfs.link(&w.caller(), &one, &w.origin, b"/three").unwrap();
    assert_eq!(w.attr("/two").unwrap().nlink, 3);
    w.unlink("/one").unwrap();
    w.unlink("/two").unwrap();
    assert_eq!(w.attr("/three").unwrap().nlink, 1);
    assert_eq!(w.open("/three", OpenFlags::empty()).unwrap().read(0, 9), "1234");
}

#[test]
fn attributes_links_and_directories() {
    let temp = Temp::new();
    std::os::unix::fs::symlink("over/there", temp.path("link")).unwrap();
    let w = World::new(&temp, false);
    let link = w.find("/link").unwrap();
    assert_eq!(link.inode().readlink(&w.caller()).unwrap(), b"over/there");
    w.vfs.symlink(&w.caller(), b"x/y", &w.origin, b"/l2").unwrap();
    assert_eq!(std::fs::read_link(temp.path("l2")).unwrap().to_str(), Some("x/y"));
    w.mkdir("/d");
    assert_eq!(w.attr("/").unwrap().nlink, std::fs::metadata(&temp.0).unwrap().nlink() as u32);
    let d = w.find("/d").unwrap();
    w.vfs.chmod(&w.caller(), &d, 0o1751).unwrap();
    w.vfs.chown(&w.caller(), &d, Some(3), Some(4)).unwrap();
    let host = std::fs::metadata(temp.path("d")).unwrap();
    assert_eq!((host.mode() & 0o7777, host.uid(), host.gid()), (0o1751, 3, 4));
    let attr = w.attr("/d").unwrap();
    assert_eq!((attr.mode & 0o7777, attr.uid, attr.gid), (0o1751, 3, 4));
    assert_eq!(w.vfs.rmdir(&w.caller(), &w.origin, b"/d"), Ok(()));
    assert_eq!(w.find("/d").err(), Some(Errno::ENOENT));
    assert_eq!(w.attr("/").unwrap().nlink, std::fs::metadata(&temp.0).unwrap().nlink() as u32);
}

#[test]
fn extended_attributes() {
    let temp = Temp::new();
    temp.write("f", "");
    let w = World::new(&temp, false);
    let f = w.find("/f").unwrap();
    let inode = GoferInode::of(f.inode()).unwrap();
    assert_eq!(inode.get(b"user.x"), Err(Errno::ENODATA));
    match inode.set(b"user.x", b"1", SetXattrFlags::empty()) {
        Err(Errno::EOPNOTSUPP) => return,
        other => other.unwrap(),
    }
    assert_eq!(inode.get(b"user.x").unwrap(), b"1");
    assert_eq!(inode.list().unwrap(), [b"user.x"]);
    assert_eq!(inode.set(b"user.x", b"", SetXattrFlags::CREATE), Err(Errno::EEXIST));
    inode.remove(b"user.x").unwrap();
    assert_eq!(inode.remove(b"user.x"), Err(Errno::ENODATA));
    assert_eq!(f.inode().access_acl().unwrap(), None);
}

#[test]
fn mappings_show_the_file() {
    let temp = Temp::new();
    temp.write("f", &"x".repeat(5000));
    let w = World::new(&temp, false);
    let f = w.open("/f", OpenFlags::RDWR).unwrap();
    let Backing::Host { offset, len, .. } = f.inode.backing(4096, 65536, Access::WRITE).unwrap() else {
        panic!()
    };
    assert_eq!((offset, len), (4096, 4096));
    assert_eq!(f.inode.backing(8192, 4096, Access::READ).err(), Some(Errno::ENXIO));
    // Mapped for writing, its attributes are never believed.
    temp.write("f", "short");
    assert_eq!(w.attr("/f").unwrap().size, 5);
}
