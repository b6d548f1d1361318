import Foundation
import Measuring

/// The write end of the pipe that a signal handler may use: handlers can't capture anything.
// Written once, before the handlers are installed.
nonisolated(unsafe) private var interruptionPipe: Int32 = -1

/// Ctrl-C and SIGTERM.
enum Interruption {
    /// - Parameter first: called at the first one; the second ends the process at once. For the whole process, so once.
    static func watch(_ first: @escaping @Sendable () -> Void) {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0, "no pipe: \(String(cString: strerror(errno)))")
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        interruptionPipe = ends[1]
        let reading = ends[0]
        // A handler, not "ignore": programs that are started would inherit that.
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in
                var byte: UInt8 = 1
                _ = write(interruptionPipe, &byte, 1)
            }
        }
        let thread = Thread {
            var byte: UInt8 = 0
            guard read(reading, &byte, 1) == 1 else { return }
            progress("removing what was made; once more to end at once")
            first()
            guard read(reading, &byte, 1) == 1 else { return }
            exit(130)
        }
        thread.start()
    }
}
