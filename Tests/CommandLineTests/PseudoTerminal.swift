import Foundation

/// A terminal without a window: what a program shows there goes to a file.
struct PseudoTerminal {
    struct Failure: Error {
        var code: Int32
    }

    /// For the program. Close it when that has ended.
    let end: FileHandle
    /// Finishes when everything is in the file, after `end` has been closed.
    let copied: AsyncStream<Void>

    init(into file: FileHandle) throws {
        // As unlockpt and ptsname do, which glibc's headers show to GNU C only: TIOCSPTLCK and TIOCGPTN.
        let near = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        var isLocked: Int32 = 0
        var number: Int32 = 0
        guard near >= 0, ioctl(near, 0x4004_5431, &isLocked) == 0, ioctl(near, 0x8004_5430, &number) == 0 else {
            throw Failure(code: errno)
        }
        let far = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard far >= 0 else { throw Failure(code: errno) }
        end = FileHandle(fileDescriptor: far, closeOnDealloc: true)
        let (copied, continuation) = AsyncStream.makeStream(of: Void.self)
        self.copied = copied
        Thread {
            var buffer = [UInt8](repeating: 0, count: 4_096)
            while true {
                let count = read(near, &buffer, buffer.count)
                guard count > 0 else { break }
                file.write(Data(buffer.prefix(count)))
            }
            close(near)
            continuation.finish()
        }.start()
    }
}
