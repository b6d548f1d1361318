import OrchestryModel

extension ComposeService {
    // MARK: Ports

    private static let portRule = "no port of the container: write each port of a range, and a variable's value, out"

    /// `"8080:80"`, `"127.0.0.1:8080:80/tcp"`, `"80"`, `{target: 80, published: 8080}`.
    mutating func takePorts(_ value: JSONValue) {
        guard case .array(let elements) = value else { return leave("ports", "it must be a list") }
        for element in elements {
            if let members = element.objectValue {
                leaveOthers(members, but: ["target", "published", "protocol"], at: "ports")
                takePort(
                    members["target"]?.stringValue ?? "", published: members["published"]?.stringValue,
                    udp: members["protocol"]?.stringValue == "udp", written: element.jsonText())
                continue
            }
            guard let text = literal("ports", element) else { continue }
            let parts = text.split(separator: "/", maxSplits: 1)
            let sides = (parts.first ?? "").split(separator: ":", omittingEmptySubsequences: false)
            takePort(
                sides.last.map(String.init) ?? "", published: sides.count > 1 ? String(sides[sides.count - 2]) : nil,
                udp: parts.count > 1 && parts[1] == "udp", written: text)
        }
    }

    private mutating func takePort(_ target: String, published: String?, udp: Bool, written: String) {
        guard !udp else { return leave("ports", "\(written): UDP is not available") }
        guard let port = Int(target), (1...65_535).contains(port) else {
            return leave("ports", "\(written): \(Self.portRule)")
        }
        if !ports.contains(port) { ports.append(port) }
        use("ports", "\(port) in the container" + (ports.first == port ? ", the one that is routed and probed" : ""))
        if let published, !published.isEmpty {
            leave(
                "ports",
                "\(published) on the host: the proxy serves apps by host name; routing.listenPort: \(published) gives an "
                    + "http app a port of its own")
        }
    }

    mutating func takeExposed(_ value: JSONValue) {
        for text in texts("expose", value) {
            guard let port = Int(text.split(separator: "/").first ?? ""), (1...65_535).contains(port) else {
                leave("expose", "\(text): \(Self.portRule)")
                continue
            }
            if !ports.contains(port) { ports.append(port) }
            use("expose", "\(port) in the container")
        }
    }

    // MARK: Volumes

    mutating func takeVolumes(_ value: JSONValue) {
        guard case .array(let elements) = value else { return leave("volumes", "it must be a list") }
        for element in elements {
            if let members = element.objectValue {
                takeVolume(members, written: element.jsonText())
                continue
            }
            guard let text = literal("volumes", element) else { continue }
            let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count >= 2 else {
                leave("volumes", "\(text): an anonymous volume is lost with its container: give it a name")
                continue
            }
            let modes = parts.count > 2 ? parts[2].split(separator: ",").map(String.init) : []
            for mode in modes where mode != "ro" && mode != "rw" {
                leave("volumes", "\(text): \(mode) is not available")
            }
            mount(source: parts[0], target: parts[1], readOnly: modes.contains("ro"), written: text)
        }
    }

    private mutating func takeVolume(_ members: [String: JSONValue], written: String) {
        guard let target = members["target"]?.stringValue.flatMap(ComposeText.literal) else {
            return leave("volumes", "\(written): it has no target, or one with a variable")
        }
        let known: Set<String> = ["type", "source", "target", "read_only", "tmpfs"]
        for key in members.keys.sorted() where !known.contains(key) {
            leave("volumes", "\(written): \(key) is not available")
        }
        switch members["type"]?.stringValue ?? "volume" {
        case "tmpfs":
            leaveOthers(members["tmpfs"]?.objectValue ?? [:], but: ["size"], at: "volumes.tmpfs")
            addTemporary(target, size: members["tmpfs"]?["size"]?.stringValue)
        case "volume", "bind":
            guard let source = members["source"]?.stringValue.flatMap(ComposeText.literal) else {
                return leave("volumes", "\(written): it has no source, or one with a variable")
            }
            mount(
                source: source, target: target, readOnly: Self.flag(members["read_only"]) == true, written: written)
        case let other: leave("volumes", "\(written): the type \(other) is not available")
        }
    }

    private mutating func mount(source: String, target: String, readOnly: Bool, written: String) {
        guard !source.hasPrefix("."), !source.hasPrefix("~") else {
            return leave(
                "volumes",
                "\(written): a path beside the compose file is not there on the nodes: use a named volume, put it into the "
                    + "image, or name an absolute path that engine.bind_allow allows")
        }
        let isBind = source.hasPrefix("/")
        var volume: [String: JSONValue] = [
            "type": isBind ? "bind" : "volume", "source": .string(source), "target": .string(target),
        ]
        if readOnly { volume["readOnly"] = true }
        volumes.append(.object(volume))
        use(
            "volumes",
            isBind
                ? "\(written): only where the node's engine.bind_allow allows \(source)"
                : "\(written): each node has its own; what compose's volume holds is not carried over")
    }

    mutating func takeTemporary(_ value: JSONValue) {
        for text in texts("tmpfs", value.stringValue == nil ? value : [value]) {
            let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
            let options = parts.count > 1 ? parts[1].split(separator: ",").map(String.init) : []
            for option in options where !option.hasPrefix("size=") {
                leave("tmpfs", "\(text): \(option) is not available")
            }
            let size = options.first { $0.hasPrefix("size=") }.map { String($0.dropFirst(5)) }
            addTemporary(parts.first ?? "", size: size)
        }
    }

    private mutating func addTemporary(_ target: String, size: String?) {
        var volume: [String: JSONValue] = ["type": "tmpfs", "target": .string(target)]
        if let size {
            guard let bytes = ComposeText.bytes(size) else {
                return leave("tmpfs", "\(target): \(size) is not a size")
            }
            volume["size"] = JSONValue(bytes)
        }
        volumes.append(.object(volume))
        use("tmpfs", target)
    }

    // MARK: Health

    mutating func takeHealth(_ value: JSONValue) {
        guard let members = value.objectValue else { return leave("healthcheck", "it must be a map") }
        guard Self.flag(members["disable"]) != true else {
            return leave("healthcheck", "it is switched off in compose")
        }
        let command: [String]
        switch value["test"] {
        case .string(let line)?: command = ["/bin/sh", "-c", line]
        case .array(let elements)?:
            let words = elements.compactMap(\.stringValue)
            switch words.first {
            case "CMD"?: command = Array(words.dropFirst())
            case "CMD-SHELL"?: command = ["/bin/sh", "-c"] + words.dropFirst()
            case "NONE"?: return leave("healthcheck", "it is switched off in compose")
            default: return leave("healthcheck", "its test begins with none of CMD, CMD-SHELL and NONE")
            }
        default: return leave("healthcheck", "it has no test; without one the first port must take connections")
        }
        let literals = command.compactMap(ComposeText.literal)
        guard literals.count == command.count, !literals.isEmpty else {
            return leave("healthcheck", "its test is empty or holds a variable ($$NAME is one of the container's)")
        }
        var check: [String: JSONValue] = ["protocol": "COMMAND", "command": .array(literals.map { .string($0) })]
        let times = [
            ("interval", "periodSeconds"), ("timeout", "timeoutSeconds"), ("start_period", "initialDelaySeconds"),
        ]
        for (key, field) in times {
            guard let text = value[key]?.stringValue else { continue }
            if let seconds = ComposeText.seconds(text) {
                check[field] = JSONValue(seconds)
            } else {
                leave("healthcheck.\(key)", "\(text) is not a duration")
            }
        }
        if let text = value["retries"]?.stringValue {
            if let retries = Int(text) {
                check["failureThreshold"] = JSONValue(retries)
            } else {
                leave("healthcheck.retries", "\(text) is not a number")
            }
        }
        leaveOthers(
            members, but: ["test", "disable", "interval", "timeout", "start_period", "retries"], at: "healthcheck")
        health = .object(check)
        use("healthcheck", "as a command in the container; an HTTP path costs less")
    }

    // MARK: Limits

    mutating func takeProcessors(_ key: String, _ value: JSONValue) {
        guard let text = literal(key, value) else { return }
        guard let cores = Double(text), cores > 0, cores < 1_000 else { return leave(key, "not a number of cores") }
        resources["cpu"] = .string("\(Int((cores * 1_000).rounded()))m")
        use(key)
    }

    mutating func takeMemory(_ key: String, _ value: JSONValue) {
        guard let text = literal(key, value) else { return }
        guard let bytes = ComposeText.bytes(text) else { return leave(key, "not a size") }
        resources["memory"] = JSONValue(bytes)
        use(key)
    }

    mutating func takePids(_ key: String, _ value: JSONValue) {
        guard let text = literal(key, value) else { return }
        guard let pids = Int(text) else { return leave(key, "not a number") }
        resources["pids"] = JSONValue(pids)
        use(key)
    }

    mutating func takeReplicas(_ key: String, _ value: JSONValue) {
        guard let text = literal(key, value) else { return }
        guard let number = Int(text), (1...1_000).contains(number) else {
            return leave(key, "\(text): must be 1 to 1000; an app that is not to run is left stopped")
        }
        replicas = number
        use(key, "as minReplicas and maxReplicas")
    }

    mutating func takeDeploy(_ value: JSONValue) {
        guard let members = value.objectValue else { return leave("deploy", "it must be a map") }
        for (key, member) in members.sorted(by: { $0.key < $1.key }) {
            switch key {
            case "replicas": takeReplicas("deploy.replicas", member)
            case "resources":
                for (kind, limits) in (member.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
                    let path = "deploy.resources.\(kind)"
                    guard kind == "limits" else {
                        leave(path, "limits are what is reserved, too")
                        continue
                    }
                    for (name, limit) in (limits.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
                        switch name {
                        case "cpus": takeProcessors("\(path).cpus", limit)
                        case "memory": takeMemory("\(path).memory", limit)
                        case "pids": takePids("\(path).pids", limit)
                        default: leave("\(path).\(name)", "not available")
                        }
                    }
                }
            case "restart_policy": leave("deploy.\(key)", "apps are always kept running")
            case "update_config", "rollback_config":
                leave("deploy.\(key)", "see rollout: {maxSurge, maxUnavailable}; one after the other unless it says so")
            case "placement": leave("deploy.\(key)", "instances are spread over the nodes")
            default: leave("deploy.\(key)", "not available")
            }
        }
    }
}
