/// A command to run in an instance, and how its caller is attached to it.
public struct ExecCommand: Hashable, Sendable, Codable {
    /// In characters.
    public struct Size: Hashable, Sendable, Codable {
        /// 1…65,535.
        public var columns: Int
        /// 1…65,535.
        public var rows: Int
        public init(columns: Int, rows: Int) {
            self.columns = columns
            self.rows = rows
        }
        public var isValid: Bool { Self.range.contains(columns) && Self.range.contains(rows) }
        public static let range = 1...65_535
    }

    public static let mostWords = 256
    public static let mostBytes = 32 << 10

    /// The program and its arguments: 1…256 words, 32 KiB in all, none with a NUL.
    public var words: [String]
    /// Whether something comes by its standard input.
    public var hasInput: Bool
    /// nil: no terminal; standard output and standard error stay apart.
    public var terminal: Size?
    public init(words: [String], hasInput: Bool = false, terminal: Size? = nil) {
        self.words = words
        self.hasInput = hasInput
        self.terminal = terminal
    }

    /// All rules that are broken.
    public var violations: [Violation] {
        var found: [Violation] = []
        if words.isEmpty || words[0].isEmpty {
            found.append(Violation("command", "must name a program, got none"))
        }
        if words.count > Self.mostWords {
            found.append(Violation("command", "must have at most \(Self.mostWords) words, got \(words.count)"))
        }
        let bytes = words.reduce(0) { $0 + $1.utf8.count }
        if bytes > Self.mostBytes {
            found.append(Violation("command", "must have at most \(Self.mostBytes) bytes in all, got \(bytes)"))
        }
        if words.contains(where: { $0.utf8.contains(0) }) {
            found.append(Violation("command", "must not hold a zero byte"))
        }
        for (name, value) in [("columns", terminal?.columns), ("rows", terminal?.rows)] {
            guard let value, !Size.range.contains(value) else { continue }
            found.append(Violation(name, "must be 1 to 65535, got \(value)"))
        }
        return found
    }
}

extension InstanceID {
    /// Whether it can be one of this app's: instances are named `<app>-<revision>-<six letters and digits>`.
    public func mayBelong(to app: AppName) -> Bool { rawValue.hasPrefix("\(app.rawValue)-") }
}

extension Problem {
    public static func instanceNotFound(_ instance: InstanceID, of app: AppName) -> Problem {
        Problem(
            status: 404, code: "instance-not-found", title: "No such instance",
            detail: "App \(app) has no instance \(instance). `orchestry status \(app)` shows those it has.")
    }
}
