import Foundation

/// A file system of its own over a folder, in memory, that a test can fill. Mounting takes root. It ends with the object and
/// with the test's process.
public final class SmallDisk: Sendable {
    public let path: String
    private let watchdog: Watchdog

    /// Blocking. What the folder holds is hidden meanwhile.
    public init(at path: String, megabytes: Int) throws {
        self.path = path
        try Shell.run(
            "mkdir -p \"$1\" && mount -t tmpfs -o size=${2}m,mode=755 tmpfs \"$1\"", [path, String(megabytes)])
        watchdog = try Watchdog("umount -l \"$1\"", [path])
    }

    /// Takes all the room there is. Blocking.
    public func fill() throws {
        // That it ends with an error is what it is for.
        try Shell.run(
            "dd if=/dev/zero of=\"$1/filler\" bs=64k 2>/dev/null; dd if=/dev/zero bs=1 >>\"$1/filler\" 2>/dev/null; true",
            [path])
    }

    /// Gives it back. Blocking.
    public func free() throws { try Shell.run("rm -f \"$1/filler\"", [path]) }
}
