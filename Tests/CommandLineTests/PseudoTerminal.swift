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
        let near = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard near >= 0, grantpt(near) == 0, unlockpt(near) == 0, let name = ptsname(near) else {
            throw Failure(code: errno)
        }
        let far = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)
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
