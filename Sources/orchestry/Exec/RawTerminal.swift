import Dispatch
import Foundation
import OrchestryModel

/// The terminal behind standard input, passing every key on as it is. What it was before is put back at the end, also when
/// this process is told to end.
final class RawTerminal {
    private let before: termios
    private let signals: [any DispatchSourceSignal]

    /// nil: standard input is no terminal.
    init?() {
        var now = termios()
        guard tcgetattr(STDIN_FILENO, &now) == 0 else { return nil }
        before = now
        let saved = now
        signals = [SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                var saved = saved
                tcsetattr(STDIN_FILENO, TCSANOW, &saved)
                exit(128 + number)
            }
            source.resume()
            return source
        }
        cfmakeraw(&now)
        tcsetattr(STDIN_FILENO, TCSANOW, &now)
    }

    func restore() {
        var before = before
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before)
        for source in signals { source.cancel() }
    }

    /// Of the window now; 80 × 24 where there is none.
    static var size: ExecCommand.Size {
        var window = winsize()
        for descriptor in [STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO]
        where ioctl(descriptor, UInt(TIOCGWINSZ), &window) == 0 && window.ws_col > 0 && window.ws_row > 0 {
            return .init(columns: Int(window.ws_col), rows: Int(window.ws_row))
        }
        return .init(columns: 80, rows: 24)
    }

    /// Each new size of the window.
    static func sizes() -> AsyncStream<ExecCommand.Size> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            // Sources may be used from any thread; Dispatch does not say so to the compiler.
            nonisolated(unsafe) let source = DispatchSource.makeSignalSource(signal: SIGWINCH, queue: .global())
            source.setEventHandler { continuation.yield(size) }
            continuation.onTermination = { _ in source.cancel() }
            source.resume()
        }
    }
}
