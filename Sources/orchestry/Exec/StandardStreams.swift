import Dispatch
import Foundation
import NIOCore
import Synchronization

/// When the server was last heard of.
final class HeardSignal: Sendable {
    /// nil: nobody listens now.
    private let last = Mutex<ContinuousClock.Instant?>(.now)
    func note() { last.withLock { $0 = .now } }
    func pause() { last.withLock { $0 = nil } }
    var silence: Duration { last.withLock { last in last.map { .now - $0 } ?? .zero } }
}

enum StandardStreams {
    private static let queue = DispatchQueue(label: "orchestry.output")

    /// Returns when all is written: whoever does not take it holds up the command, as with a pipe.
    /// - Throws: `CommandFailure.local`; nobody reads any more.
    static func write(_ bytes: ByteBuffer, to descriptor: Int32) async throws {
        let code = await withCheckedContinuation { (continuation: CheckedContinuation<Int32, Never>) in
            queue.async {
                continuation.resume(returning: bytes.withUnsafeReadableBytes { writeAll($0, to: descriptor) })
            }
        }
        guard code == 0 else {
            throw CommandFailure.local(
                "what the command writes can't be written here: \(String(cString: strerror(code)))")
        }
    }

    /// - Returns: 0, or `errno`.
    private static func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Int32 {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Foundation.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                // Somebody else made it non-blocking.
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, -1)
            } else if errno != EINTR {
                return errno
            }
        }
        return 0
    }
}

/// This process' standard input, whatever it is, read on a thread of its own, and left when the reader is cancelled.
final class StandardInput: Sendable {
    private static let pieceBytes = 32 << 10
    private let queue = DispatchQueue(label: "orchestry.input")
    /// Wakes the thread: reading end, writing end.
    private let wake: (Int32, Int32)

    init() throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw CommandFailure.local("no pipe: \(String(cString: strerror(errno)))") }
        wake = (ends[0], ends[1])
    }

    deinit {
        close(wake.0)
        close(wake.1)
    }

    /// nil: there is no more, or the task is cancelled.
    func next() async throws -> [UInt8]? {
        let (wake, queue) = (wake, queue)
        let bytes = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<[UInt8]?, Never>) in
                queue.async { continuation.resume(returning: Self.read(wake: wake.0)) }
            }
        } onCancel: {
            var byte: UInt8 = 0
            // A full pipe wakes as well.
            _ = Foundation.write(wake.1, &byte, 1)
        }
        return bytes.flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func read(wake: Int32) -> [UInt8]? {
        while true {
            var waits = [
                pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
                pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&waits, 2, -1) >= 0 else {
                if errno == EINTR { continue }
                return nil
            }
            if waits[1].revents != 0 { return nil }
            var bytes = [UInt8](repeating: 0, count: pieceBytes)
            let count = Foundation.read(STDIN_FILENO, &bytes, pieceBytes)
            if count >= 0 { return Array(bytes[..<count]) }
            guard errno == EINTR || errno == EAGAIN else { return nil }
        }
    }
}
