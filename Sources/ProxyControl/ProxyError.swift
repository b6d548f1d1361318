/// What went wrong between the node and its nginx.
package struct ProxyError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable {
        /// nginx is not installed, or not with what the settings ask for.
        case notInstalled
        /// Another process controls the nginx of this folder.
        case folderInUse
        /// nginx refused a configuration; the one before it goes on serving.
        case rejected
        case startFailed
        /// `start()` has not succeeded, or nginx is gone and has not come back yet.
        case notRunning
        /// The table is older than one already applied.
        case stale
        /// Not in this mode.
        case unsupported
        case timeout
        /// nginx answered something this version does not understand, or an error.
        case badAnswer
        case inputOutput
    }

    package var code: Code
    /// What was being done, as a gerund: "testing the configuration".
    package var operation: String
    /// Safe to log and to show.
    package var message: String

    package init(_ code: Code, while operation: String, _ message: String) {
        self.code = code
        self.operation = operation
        self.message = message
    }

    /// Whether the same call may succeed later without anybody changing anything.
    package var isRetryable: Bool {
        switch code {
        case .startFailed, .notRunning, .timeout, .badAnswer, .inputOutput: true
        case .notInstalled, .folderInUse, .rejected, .stale, .unsupported: false
        }
    }

    package var description: String { "\(operation): \(message) (\(code.rawValue))" }

    static func system(_ operation: String, _ path: String, _ number: Int32) -> ProxyError {
        ProxyError(.inputOutput, while: operation, "\(path): \(Errno.text(number))")
    }
}
