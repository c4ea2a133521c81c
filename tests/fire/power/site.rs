//! A dock on disks whose power can be cut, with a keyring and a bucket that keep theirs.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dockseal::keyring::{Days, Enrolled, day_of};
use dockseal::note::{Kind, VerifierKey};
use jiff::ToSpan;
use tempfile::TempDir;

use super::disk::{Disks, Image};
use super::mounted::{Attached, FileSystem, Mounted, source};
use super::outside::Outside;
use super::replay::{Left, Recording};
use crate::support::dock::Finished;
use crate::support::random::Random;
use crate::support::site::{Site, our_keys};
use crate::support::{files_beneath, ledger, scratch, sha256};

/// The spool wants 64 MiB free beside what it writes.
const DISK_SIZE: usize = 96 << 20;
/// One clip of nothing, some of one chunk, one sealed in stages.
const CLIP_SIZES: [usize; 5] = [0, 700, 40_000, 300_000, 1_500_000];

/// In each clip, again and again; and in its name.
pub const CONTENT_MARK: &str = "CANARY-content-7d20be";
pub const NAME_MARK: &str = "CANARY-name-15fa93";

/// What lies on which disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// State directory and dock folder on one: a cut hits sealing and erasing together.
    OneDisk,
    /// The state directory on disk 0, the dock folder on disk 1.
    TwoDisks,
    /// As [`Layout::TwoDisks`], the state directory's without a journal. The dock folder's has one:
    /// without it a cut rename leaves a file with two names, which is held, visibly, for ever.
    Unjournaled,
}

impl Layout {
    fn file_system(self, disk: usize) -> FileSystem {
        match (self, disk) {
            (Layout::Unjournaled, 0) => FileSystem::Unjournaled,
            (Layout::OneDisk | Layout::TwoDisks | Layout::Unjournaled, _) => FileSystem::Ext4,
        }
    }
}

/// A dock on such disks.
pub struct PoweredSite {
    // Dropped in this order: what is mounted goes first.
    mounted: Vec<Mounted>,
    devices: Vec<Attached>,
    pub disks: Disks,
    /// Bucket and keyring.
    _powered: Mounted,
    pub site: Site,
    layout: Layout,
    _served_at: TempDir,
    /// SHA-256 of each clip, by its name.
    pub clips: BTreeMap<String, String>,
    keyring: PathBuf,
    /// How often something was recorded.
    recorded: usize,
}

impl PoweredSite {
    /// With an initialised dock and clips that wait to be sealed; all of it is on the disks.
    pub fn new(layout: Layout, erase: &'static str, random: &mut Random) -> PoweredSite {
        let served_at = scratch();
        let count = match layout {
            Layout::OneDisk => 1,
            Layout::TwoDisks | Layout::Unjournaled => 2,
        };
        let images = vec![Image::blank(DISK_SIZE); count];
        let disks = Disks::serve(served_at.path(), &source(), images);
        let devices: Vec<_> = (0..count).map(|disk| Attached::new(&disks.file(disk))).collect();
        for (disk, device) in devices.iter().enumerate() {
            layout.file_system(disk).make(device);
        }
        let site = Site::bare(|choices| choices.erase = erase);
        // The bucket keeps its power; what it syncs is not what is tried here.
        let powered = Mounted::in_memory(site.bucket().parent().expect("beside the dock"));
        for folder in [site.bucket(), site.outside()] {
            std::fs::create_dir(folder).unwrap();
        }
        let keyring = site.outside().join("keyring");
        let mut dock = PoweredSite {
            mounted: vec![],
            devices,
            disks,
            _powered: powered,
            site,
            layout,
            _served_at: served_at,
            clips: BTreeMap::new(),
            keyring,
            recorded: 0,
        };
        dock.lay_out();
        dock.mount().expect("it was just made");
        if layout == Layout::OneDisk {
            for folder in ["state", "dock"] {
                std::fs::create_dir(dock.home().join("disk").join(folder)).unwrap();
            }
        }
        dock.initialise();
        dock.fill(random);
        dock.mounted.iter().for_each(Mounted::sync);
        dock
    }

    /// The folder of the dock, with its config.
    fn home(&self) -> PathBuf {
        self.site.dock.config().parent().expect("it is in one").to_owned()
    }

    /// The keyring of the authority.
    pub fn keyring_file(&self) -> &Path {
        &self.keyring
    }

    /// The key that signed it.
    pub fn root(&self) -> String {
        ledger::signer("authority.example", Kind::Note, 1).verifier().to_string()
    }

    fn lay_out(&self) {
        let home = self.home();
        match self.layout {
            Layout::TwoDisks | Layout::Unjournaled => {
                std::fs::create_dir(home.join("state")).unwrap()
            }
            Layout::OneDisk => {
                std::fs::create_dir(home.join("disk")).unwrap();
                std::fs::remove_dir(home.join("dock")).unwrap();
                symlink("disk/dock", home.join("dock")).unwrap();
                symlink("disk/state", home.join("state")).unwrap();
            }
        }
    }

    /// Mounts the disks where the dock expects them.
    fn mount(&mut self) -> Result<(), String> {
        let places: &[&str] = match self.layout {
            Layout::OneDisk => &["disk"],
            Layout::TwoDisks | Layout::Unjournaled => &["state", "dock"],
        };
        for (disk, (device, place)) in self.devices.iter().zip(places).enumerate() {
            self.layout.file_system(disk).mend(device);
            self.mounted.push(Mounted::new(device, &self.home().join(place))?);
        }
        Ok(())
    }

    /// Initialises the dock, and enrols it in a keyring of its authority.
    fn initialise(&self) {
        let root = ledger::signer("authority.example", Kind::Note, 1);
        let mut choices = self.site.choices.clone();
        choices.recipients.clear();
        let [keyring, authority] =
            [self.keyring.display().to_string(), root.verifier().to_string()];
        choices.more = format!("keyring = {keyring:?}\nauthority = {authority:?}");
        self.site.dock.reconfigure(&choices);
        let said = self.site.dock.finish(&["init"]).expect_code(0).stdout;
        let key = said.lines().find_map(|line| line.trim().strip_prefix("dockseal-dock "));
        let key: VerifierKey = key.expect("the enrolment line").parse().expect("a key");
        let today = day_of(dockseal::clip::Timestamp(jiff::Timestamp::now().as_millisecond()));
        let days = Days { from: today - 1.day(), until: today + 30.days() };
        let mut keyring = ledger::keyring();
        keyring.members[0].recipient = our_keys().recipient.parse().expect("a recipient");
        keyring.docks = vec![Enrolled { key, days }];
        let text = keyring.sign(&root).expect("good").to_string();
        // The dock takes it from its file, the auditor from the bucket.
        std::fs::create_dir(self.site.bucket().join("keyrings")).unwrap();
        std::fs::write(self.site.bucket().join("keyrings/1"), &text).unwrap();
        std::fs::write(&self.keyring, text).unwrap();
    }

    fn fill(&mut self, random: &mut Random) {
        for (index, size) in CLIP_SIZES.iter().enumerate() {
            let name = format!("{NAME_MARK}-{index}.mp4");
            let mut content = random.bytes(*size);
            for place in content.chunks_mut(4096).filter(|place| place.len() > CONTENT_MARK.len()) {
                place[..CONTENT_MARK.len()].copy_from_slice(CONTENT_MARK.as_bytes());
            }
            let path = self.site.put(Path::new("cam-1").join(&name), &content);
            self.clips.insert(name, sha256(&path));
        }
    }

    /// Runs the dock until nothing is left to do, and records it.
    pub fn record(&mut self) -> (Recording, Finished) {
        self.record_while(|site, _| site.site.dock.run_until_idle())
    }

    /// Records something else; it may sync the disks.
    pub fn record_while<T>(
        &mut self,
        work: impl FnOnce(&PoweredSite, &dyn Fn(&PoweredSite)) -> T,
    ) -> (Recording, T) {
        // What mounting wrote is durable: the recording begins with a machine that is up.
        self.mounted.iter().for_each(Mounted::sync);
        let base = self.disks.images();
        self.recorded += 1;
        let kept = self.site.outside().join(format!("snapshots-{}", self.recorded));
        self.disks.begin_log(Outside::new(&self.site.bucket(), &kept));
        let done = work(self, &|site| site.mounted.iter().for_each(Mounted::sync));
        let (events, outside) = self.disks.end_log();
        (Recording { base, events, outside }, done)
    }

    /// Puts disks and bucket into the state that a power cut left, and mounts the disks.
    pub fn put_back(&mut self, recording: &Recording, left: &Left) -> Result<(), String> {
        recording.outside.restore(left.snapshot);
        self.hold_and_mount(left.images.clone())
    }

    /// Lets the disks hold something else, and mounts them.
    pub fn hold_and_mount(&mut self, images: Vec<Image>) -> Result<(), String> {
        self.mounted.clear();
        self.devices.iter().for_each(Attached::wait_until_free);
        self.disks.hold(images);
        self.mount()
    }

    /// Undoes [`Site::take_bucket_away`].
    pub fn bring_bucket_back(&self) {
        let bucket = self.site.bucket();
        std::fs::rename(bucket.with_file_name("away"), bucket).expect("it was away");
    }

    /// Bytes of all sealed files in the bucket.
    pub fn sealed_bytes(&self) -> usize {
        let files = files_beneath(&self.site.bucket().join("test-dock-1/clips"));
        files.iter().map(|file| file.metadata().unwrap().len() as usize).sum()
    }
}
