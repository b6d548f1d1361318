import Foundation

/// What the terminal behind standard output and standard error can do.
enum Terminal {
    enum Colour: String {
        case red = "31"
        case green = "32"
        case yellow = "33"
        case bold = "1"
    }

    static let outputIsTerminal = isatty(STDOUT_FILENO) == 1
    static let errorsAreTerminal = isatty(STDERR_FILENO) == 1

    /// Only for people who look at it: see no-color.org.
    static let hasColours: Bool = {
        let environment = ProcessInfo.processInfo.environment
        return outputIsTerminal && environment["NO_COLOR", default: ""].isEmpty && environment["TERM"] != "dumb"
    }()

    static func paint(_ text: String, _ colour: Colour?) -> String {
        guard hasColours, let colour else { return text }
        return "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m"
    }

    private static let good: Set<String> = ["ready", "running", "succeeded", "healthy", "leader", "ok"]
    private static let bad: Set<String> = [
        "unhealthy", "crash-looping", "failed", "aborted", "lost", "no-engine", "silent", "degraded", "error",
    ]
    private static let underWay: Set<String> = [
        "pending", "pulling", "starting", "draining", "paused", "cordoned", "candidate", "warning",
    ]

    /// The colour of a word that says how something is; nil: it is none of these.
    static func colour(ofState word: String) -> Colour? {
        if good.contains(word) { return .green }
        if bad.contains(word) { return .red }
        return underWay.contains(word) ? .yellow : nil
    }

    /// Clears the screen, cursor at the top.
    static let clear = "\u{1B}[H\u{1B}[2J\u{1B}[3J"

    /// Lines of the window; nil: not a terminal.
    static var height: Int? {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0 else { return nil }
        return Int(size.ws_row)
    }
}

/// Says on standard error how far something is: on a terminal in one line that changes, else a line for each change.
struct Progress {
    private var shown = ""

    mutating func show(_ text: String) {
        guard text != shown else { return }
        if Terminal.errorsAreTerminal {
            Self.write("\r\u{1B}[K\(text)")
        } else {
            Self.write(text + "\n")
        }
        shown = text
    }

    /// Leaves the terminal's line for what follows.
    mutating func end() {
        if Terminal.errorsAreTerminal, !shown.isEmpty { Self.write("\r\u{1B}[K") }
        shown = ""
    }

    private static func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
