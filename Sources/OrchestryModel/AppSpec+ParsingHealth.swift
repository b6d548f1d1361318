/// The `healthCheck` section.
extension DocumentReader {
    private static let healthKeys = [
        "path", "port", "protocol", "method", "initialDelaySeconds", "periodSeconds", "timeoutSeconds",
        "failureThreshold", "successThreshold", "headers", "body", "expectedStatusCodes",
    ]
    private static let healthHints = [
        "interval": "did you mean periodSeconds?", "intervalSeconds": "did you mean periodSeconds?",
        "timeout": "did you mean timeoutSeconds?", "type": "did you mean protocol?",
        "httpGet": "write path and port directly", "tcpSocket": "write protocol: TCP and port directly",
    ]
    /// Fields that make a check without `protocol` an HTTP one, and that a TCP one must not have.
    private static let onlyForHTTP = ["path", "method", "headers", "body", "expectedStatusCodes"]

    /// - Parameter container: nil when the spec could not be read; rules that need it are then skipped.
    mutating func health(_ value: JSONValue?, container: AppSpec?) -> AppSpec.HealthCheck {
        let hasPort = container?.ports.isEmpty == false
        var result = AppSpec.HealthCheck(kind: hasPort ? .tcp : .none)
        guard
            let check = object(value, at: "healthCheck", keys: Self.healthKeys, hints: Self.healthHints)
        else { return result }

        let named = Self.onlyForHTTP.filter { check[$0] != nil }
        let given: AppSpec.HealthCheck.Kind? = choice(check, "protocol", [("HTTP", .http), ("TCP", .tcp)])
        result.kind = given ?? (named.isEmpty ? .tcp : .http)
        if given == .tcp {
            for key in named { report(check.path(of: key), "is only for protocol HTTP") }
        }
        result.port = integer(check, "port", 1...65_535)
        if let container, container.kind == .worker, !hasPort, check["port"] == nil {
            report("healthCheck.port", "is required, as the app has no ports")
        }
        result.path =
            text(check, "path", atMost: 2_048, "a path that starts with '/', without spaces", isRequestPath)
            ?? result.path
        result.method = choice(check, "method", [("GET", "GET"), ("POST", "POST")]) ?? result.method
        result.headers = headers(check)
        result.body = body(check, method: result.method)
        result.expectedStatuses = statuses(check)
        result.initialDelaySeconds = number(check, "initialDelaySeconds", 0...3_600) ?? result.initialDelaySeconds
        result.periodSeconds = number(check, "periodSeconds", 0.1...3_600) ?? result.periodSeconds
        result.timeoutSeconds = number(check, "timeoutSeconds", 0.05...300) ?? result.timeoutSeconds
        result.failureThreshold = integer(check, "failureThreshold", 1...100) ?? result.failureThreshold
        result.successThreshold = integer(check, "successThreshold", 1...100) ?? result.successThreshold
        return result
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
            report("healthCheck.body", "must be a string of at most 65536 bytes")
            return nil
        }
        if method != "POST" { report("healthCheck.body", "is only for method POST") }
        return text
    }

    private mutating func statuses(_ check: Object) -> [Int] {
        var statuses: [Int] = []
        for (path, value) in list(check, "expectedStatusCodes", atMost: 32, of: "HTTP statuses") ?? [] {
            guard let status = integer(value, at: path, 100...599) else { continue }
            if !statuses.contains(status) { statuses.append(status) }
        }
        return statuses
    }
}
