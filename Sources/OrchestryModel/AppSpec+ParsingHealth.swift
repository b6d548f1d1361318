/// The `healthCheck` and `livenessCheck` sections.
extension DocumentReader {
    private static let healthKeys = [
        "path", "port", "protocol", "method", "initialDelaySeconds", "periodSeconds", "timeoutSeconds",
        "failureThreshold", "successThreshold", "headers", "body", "expectedStatusCodes", "command",
    ]
    private static let healthHints = [
        "interval": "did you mean periodSeconds?", "intervalSeconds": "did you mean periodSeconds?",
        "timeout": "did you mean timeoutSeconds?", "type": "did you mean protocol?",
        "httpGet": "write path and port directly", "tcpSocket": "write protocol: TCP and port directly",
        "exec": "write command directly, as a list", "test": "write command, as a list",
        "retries": "did you mean failureThreshold?", "start_period": "did you mean initialDelaySeconds?",
    ]
    /// Fields that make a check without `protocol` an HTTP one, and that a TCP one must not have.
    private static let onlyForHTTP = ["path", "method", "headers", "body", "expectedStatusCodes"]

    /// nil when there is none.
    mutating func liveness(_ value: JSONValue?, container: AppSpec?) -> AppSpec.HealthCheck? {
        guard let value else { return nil }
        let check = health(value, at: "livenessCheck", container: container)
        if check.successThreshold != 1 {
            report("livenessCheck.successThreshold", "must be 1: one success ends a row of failures")
        }
        return check
    }

    /// - Parameter container: nil when the spec could not be read; rules that need it are then skipped.
    mutating func health(_ value: JSONValue?, at path: String, container: AppSpec?) -> AppSpec.HealthCheck {
        let hasPort = container?.ports.isEmpty == false
        var result = AppSpec.HealthCheck(kind: hasPort ? .tcp : .none)
        guard
            let check = object(value, at: path, keys: Self.healthKeys, hints: Self.healthHints)
        else { return result }

        let named = Self.onlyForHTTP.filter { check[$0] != nil }
        let given: AppSpec.HealthCheck.Kind? = choice(
            check, "protocol", [("HTTP", .http), ("TCP", .tcp), ("COMMAND", .command)])
        result.kind = given ?? (check["command"] != nil ? .command : named.isEmpty ? .tcp : .http)
        if result.kind != .http {
            for key in named { report(check.path(of: key), "is only for protocol HTTP") }
        }
        result.command = command(check, kind: result.kind)
        if result.kind == .command {
            if check["port"] != nil { report(check.path(of: "port"), "is not for a command") }
            readTimes(check, into: &result)
            return result
        }
        result.port = integer(check, "port", 1...65_535)
        if let container, container.kind == .worker, !hasPort, check["port"] == nil {
            report(check.path(of: "port"), "is required, as the app has no ports")
        }
        result.path =
            text(check, "path", atMost: 2_048, "a path that starts with '/', without spaces", isRequestPath)
            ?? result.path
        result.method = choice(check, "method", [("GET", "GET"), ("POST", "POST")]) ?? result.method
        result.headers = headers(check)
        result.body = body(check, method: result.method)
        readStatuses(check, into: &result)
        readTimes(check, into: &result)
        return result
    }

    private mutating func readTimes(_ check: Object, into result: inout AppSpec.HealthCheck) {
        result.initialDelaySeconds = number(check, "initialDelaySeconds", 0...3_600) ?? result.initialDelaySeconds
        result.periodSeconds = number(check, "periodSeconds", 0.1...3_600) ?? result.periodSeconds
        result.timeoutSeconds = number(check, "timeoutSeconds", 0.05...300) ?? result.timeoutSeconds
        result.failureThreshold = integer(check, "failureThreshold", 1...100) ?? result.failureThreshold
        result.successThreshold = integer(check, "successThreshold", 1...100) ?? result.successThreshold
    }

    private mutating func command(_ check: Object, kind: AppSpec.HealthCheck.Kind) -> [String]? {
        let path = check.path(of: "command")
        guard kind == .command else {
            if check["command"] != nil { report(path, "is only for protocol COMMAND") }
            return nil
        }
        guard let elements = list(check, "command", atMost: 64, of: "strings: the program and its arguments") else {
            report(path, "is required: the program in the container and its arguments")
            return nil
        }
        if case .array([])? = check["command"] { report(path, "must name a program") }
        var words: [String] = []
        for (path, value) in elements {
            guard let word = plainText(value, at: path, showing: false) else { continue }
            if word.utf8.count > 4_096 || word.utf8.contains(0) {
                report(path, "must be at most 4096 bytes without NUL")
            }
            words.append(word)
        }
        return words
    }

    private func isRequestPath(_ text: String) -> Bool {
        text.hasPrefix("/") && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    private mutating func headers(_ check: Object) -> [String: String] {
        var headers: [String: String] = [:]
        for (path, value) in list(check, "headers", atMost: 32, of: "{name, value}") ?? [] {
            guard let entry = object(value, at: path, keys: ["name", "value"]) else {
                if value == .null { report(path, "must be an object with name and value") }
                continue
            }
            if entry["name"] == nil { report("\(path).name", "is required") }
            let name = text(entry, "name", atMost: 128, "a header's name") { text in
                text.utf8.allSatisfy { isAlphanumeric($0) || "!#$%&'*+-.^_`|~".utf8.contains($0) }
            }
            let content = entry["value"].map { plainText($0, at: "\(path).value", showing: false) } ?? ""
            guard let name, let content else { continue }
            if headers.keys.contains(where: { $0.lowercased() == name.lowercased() }) {
                report("\(path).name", "must not repeat a header, got \"\(name)\" twice")
            } else if content.utf8.count > 4_096 || !content.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) {
                report("\(path).value", "must be at most 4096 bytes on one line")
            } else {
                headers[name] = content
            }
        }
        return headers
    }

    private mutating func body(_ check: Object, method: String) -> String? {
        guard let value = check["body"] else { return nil }
        guard let text = value.stringValue, text.utf8.count <= 65_536 else {
            report(check.path(of: "body"), "must be a string of at most 65536 bytes")
            return nil
        }
        if method != "POST" { report(check.path(of: "body"), "is only for method POST") }
        return text
    }

    /// `[200, "204-206", "3xx"]`.
    private mutating func readStatuses(_ check: Object, into result: inout AppSpec.HealthCheck) {
        for (path, value) in list(check, "expectedStatusCodes", atMost: 32, of: "HTTP statuses") ?? [] {
            if let text = value.stringValue {
                guard let range = statusRange(text) else {
                    report(
                        path,
                        "must be a status, a range such as \"200-299\" or a class such as \"2xx\", got \(Self.describe(value))"
                    )
                    continue
                }
                if !result.expectedStatusRanges.contains(range) { result.expectedStatusRanges.append(range) }
            } else if let status = integer(value, at: path, 100...599), !result.expectedStatuses.contains(status) {
                result.expectedStatuses.append(status)
            }
        }
    }

    private func statusRange(_ text: String) -> AppSpec.StatusRange? {
        if text.utf8.count == 3, text.lowercased().hasSuffix("xx"), let hundreds = text.first?.wholeNumberValue,
            (1...5).contains(hundreds)
        {
            return AppSpec.StatusRange(first: hundreds * 100, last: hundreds * 100 + 99)
        }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0.filter { $0 != " " }) }
        guard (1...2).contains(ends.count), let first = ends.first ?? nil, let last = ends.last ?? nil,
            100 <= first, first <= last, last <= 599
        else { return nil }
        return AppSpec.StatusRange(first: first, last: last)
    }
}
