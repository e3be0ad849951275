/** Opens simulated disks as real ones are opened: for tests of whatever takes a `DiskOpener`. */
import type { DiskOpener, Identify, OpenDirectory } from './disk-opener.js';
import type { SimulatedMachine } from './simulated-machine.js';

/** The opener of a simulated machine. The superblock's id is believed to be the medium's. */
export function simulatedOpener(machine: Pick<SimulatedMachine, 'open'>): DiskOpener {
  return {
    async openDirectory(path): Promise<OpenDirectory> {
      const disk = machine.open(path, false);
      return {
        directory: path,
        open: (file, mode) => disk.open(file, mode),
        list: (folder) => disk.list(folder),
        unlink: (file) => disk.unlink(file),
        rename: (from, to) => disk.rename(from, to),
        syncDirectory: (folder) => disk.syncDirectory(folder),
        lock: async () => {
          disk.lock();
        },
        close: () => disk.close(),
      };
    },
    async openDisk(path, identify: Identify) {
      const disk = machine.open(path, false);
      try {
        disk.identifiedAs(await identify(disk), identify);
        disk.lock();
        return disk;
      } catch (error) {
        await disk.close();
        throw error;
      }
    },
  };
}
