import OrchestryModel

/// Why a command did not do what was asked: the words for the user and the exit code for scripts.
enum CommandFailure: Error {
    /// The cluster answered with an error.
    case refused(status: Int, problem: JSONValue)
    /// What was asked for cannot be asked: a file, a server's address, an answer to a question.
    case usage(String)
    /// No server gave an answer.
    case unreachable(servers: [String], reasons: [String])
    case appNotFound(String, detail: String?)
    /// Something on this machine: a file that cannot be written.
    case local(String)

    static let usageExitCode: Int32 = 2

    var exitCode: Int32 {
        switch self {
        case .refused, .local: 1
        case .usage: Self.usageExitCode
        case .unreachable: 3
        case .appNotFound: 4
        }
    }

    /// Lines for standard error; every violated rule on a line of its own, as `field: rule`.
    var message: String {
        switch self {
        case .refused(let status, let problem): Self.words(for: problem, status: status)
        case .usage(let text), .local(let text): "Error: \(text)"
        case .unreachable(let servers, let reasons):
            """
            Error: no server answers (\(zip(servers, reasons).map { "\($0): \($1)" }.joined(separator: "; "))).
            Is orchestryd running there? Name other servers with --server URL[,URL…] or ORCHESTRY_SERVER, or store \
            one: orchestry config set --host HOST --port PORT
            """
        case .appNotFound(let name, let detail):
            "Error: \(detail ?? "App \(name) not found. `orchestry list` shows the registered apps.")"
        }
    }

    /// `message` for a cell.
    var line: String { message.replacing("\n", with: " ") }

    private static func words(for problem: JSONValue, status: Int) -> String {
        let title = problem["title"]?.stringValue ?? "The cluster refused (HTTP \(status))"
        let violations = problem["violations"]?.arrayValue ?? []
        guard violations.isEmpty else {
            let lines = violations.map { violation in
                let field = violation["field"]?.stringValue ?? ""
                return "  \(field.isEmpty ? "document" : field): \(violation["rule"]?.stringValue ?? "")"
            }
            return (["Error: \(title)"] + lines).joined(separator: "\n")
        }
        // Servers of the original put lists of faults there, and proxies answer with text.
        let detail =
            switch problem["detail"] {
            case .string(let text)?: text
            case let other?: other.jsonText()
            case nil: problem.stringValue ?? ""
            }
        return detail.isEmpty ? "Error: \(title)" : "Error: \(title): \(detail)"
    }
}
