/// The `spec.routing` section, and the texts whose form is checked.
extension DocumentReader {
    mutating func routing(_ spec: Object, kind: AppSpec.Kind?, name: AppName) -> AppSpec.Routing {
        var result = AppSpec.Routing(hosts: [name.rawValue])
        guard
            let routing = object(
                spec["routing"], at: "spec.routing",
                keys: [
                    "hosts", "pathPrefix", "method", "listenPort", "maxBodyBytes", "readTimeoutSeconds", "tls", "allow",
                    "deny", "maintenance",
                ],
                hints: [
                    "host": "did you mean hosts, a list?", "path": "did you mean pathPrefix?",
                    "ssl": "did you mean tls?", "https": "did you mean tls?",
                ])
        else { return result }
        if kind == .worker { report("spec.routing", "is not for a worker, to which nothing is routed") }
        if let elements = list(routing, "hosts", atMost: 32, of: "host names") {
            result.hosts = hosts(elements)
            if elements.isEmpty, routing["hosts"]?.arrayValue?.isEmpty == true {
                report("spec.routing.hosts", "must have at least one host: leave it out to use the app's name")
            }
        }
        result.pathPrefix =
            text(
                routing, "pathPrefix", atMost: 256,
                "a path that starts with '/', of letters, digits and ._~/-, without '..' or '//'", isPathPrefix)
            ?? result.pathPrefix
        result.method =
            choice(
                routing, "method", [("least_conn", .leastConnections), ("ip_hash", .ipHash), ("random", .random)])
            ?? result.method
        result.listenPort = integer(routing, "listenPort", 1...65_535)
        if let value = routing["maxBodyBytes"] {
            if let bytes = Quantity.bytes(value), (0...(1 << 40)).contains(bytes) {
                result.maxBodyBytes = bytes
            } else {
                report(
                    "spec.routing.maxBodyBytes",
                    "must be 0 (unlimited) to 1Ti, as bytes or \"20Mi\", got \(Self.describe(value))")
            }
        }
        result.readTimeoutSeconds = integer(routing, "readTimeoutSeconds", 1...3_600) ?? result.readTimeoutSeconds
        result.tls = tls(routing)
        result.allow = addressRanges(routing, "allow")
        result.deny = addressRanges(routing, "deny")
        result.maintenance = maintenance(routing)
        return result
    }

    private mutating func hosts(_ elements: [(path: String, value: JSONValue)]) -> [String] {
        var hosts: [String] = []
        for (path, value) in elements {
            guard
                let text = text(
                    value, at: path, atMost: 253, "a host name such as \"shop.example.com\", without port or '*'",
                    { isHostName($0.lowercased()) })
            else { continue }
            let host = text.lowercased()
            if hosts.contains(host) {
                report(path, "must not repeat a host, got \"\(host)\" twice")
            } else {
                hosts.append(host)
            }
        }
        return hosts
    }
}

/// DNS labels joined by dots, at most 253 bytes (RFC 1123 §2.1).
func isHostName(_ text: String) -> Bool {
    text.utf8.count <= 253
        && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { isDNSLabel(String($0)) }
}

/// What may stand in a configuration of the proxy unquoted.
func isPathPrefix(_ text: String) -> Bool {
    text.hasPrefix("/") && !hasAdjacent("/", in: text) && !hasAdjacent(".", in: text)
        && text.utf8.allSatisfy { isAlphanumeric($0) || "._~/-".utf8.contains($0) }
}

/// Whether `character` stands twice in a row.
private func hasAdjacent(_ character: Character, in text: String) -> Bool {
    zip(text, text.dropFirst()).contains { $0 == character && $1 == character }
}

func isVariableName(_ text: String) -> Bool {
    guard let first = text.utf8.first, isAlphanumeric(first) || first == UInt8(ascii: "_"), !(48...57).contains(first)
    else { return false }
    return text.utf8.allSatisfy { isAlphanumeric($0) || "_.-".utf8.contains($0) }
}

/// `uid[:gid]`, or names instead of numbers.
func isUser(_ text: String) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    return parts.count <= 2
        && parts.allSatisfy { part in
            !part.isEmpty && part.utf8.allSatisfy { isAlphanumeric($0) || "_.-".utf8.contains($0) }
        }
}

/// `[host[:port]/]component[/component…][:tag][@sha256:64 hex digits]`, after the distribution project's grammar.
func isImageReference(_ text: String) -> Bool {
    var rest = text[...]
    if let at = rest.lastIndex(of: "@") {
        let digest = rest[rest.index(after: at)...]
        let hex = digest.dropFirst(7)
        guard digest.hasPrefix("sha256:"), hex.utf8.count == 64,
            hex.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) })
        else { return false }
        rest = rest[..<at]
    }
    let lastSlash = rest.lastIndex(of: "/")
    if let colon = rest.lastIndex(of: ":"), lastSlash.map({ $0 < colon }) ?? true {
        let tag = rest[rest.index(after: colon)...]
        guard (1...128).contains(tag.utf8.count), let first = tag.utf8.first, first != UInt8(ascii: "."),
            first != UInt8(ascii: "-"), tag.utf8.allSatisfy({ isAlphanumeric($0) || "_.-".utf8.contains($0) })
        else { return false }
        rest = rest[..<colon]
    }
    var components = rest.split(separator: "/", omittingEmptySubsequences: false)
    if components.count > 1, isRegistry(components[0]) { components.removeFirst() }
    return !components.isEmpty && rest.utf8.count <= 255 && components.allSatisfy(isImageComponent)
}

/// A first component is a registry's host, not part of the path, when it has a dot or a port, or is `localhost`.
private func isRegistry(_ component: Substring) -> Bool {
    guard component.contains(".") || component.contains(":") || component == "localhost" else { return false }
    let parts = component.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2, isHostName(parts[0].lowercased()) else { return false }
    return parts.count == 1 || Int(parts[1]).map { (1...65_535).contains($0) } ?? false
}

/// Lower-case letters and digits, joined by one of `.`, `_`, `__` or any number of `-`.
private func isImageComponent(_ component: Substring) -> Bool {
    var separator = ""
    // A separator must not come first; one that no letter follows is found after the loop.
    var mayJoin = false
    for character in component {
        switch character {
        case "a"..."z", "0"..."9":
            let isKnown = ["", ".", "_", "__"].contains(separator) || separator.allSatisfy { $0 == "-" }
            guard isKnown, separator.isEmpty || mayJoin else { return false }
            separator = ""
            mayJoin = true
        case ".", "_", "-":
            separator.append(character)
        default:
            return false
        }
    }
    return mayJoin && separator.isEmpty
}

/// capabilities(7), Linux 5.9 and later.
let linuxCapabilities: Set<String> = [
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT",
    "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "WAKE_ALARM",
]
