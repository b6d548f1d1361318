import OrchestryModel

extension ComposeService {
    /// Why keys have no counterpart.
    private static let reasons: [String: String] = [
        "build": "images are pulled: build it, push it to a registry, and name it as image",
        "depends_on": "nothing waits for another app: an instance that fails is tried again until it works",
        "links": "apps find each other by host name through the proxy, not by service name",
        "networks": "all apps share one network; they find each other by host name through the proxy",
        "network_mode": "all apps share one network",
        "container_name": "containers are named after app, revision and instance",
        "hostname": "an instance's host name is its own name",
        "env_file": "the file is not read: write its variables as environment, or set secrets",
        "secrets": "set each as a secret and name it: environment: [{name: N, source: secret, key: NAME}]",
        "configs": "put it into the image, a secret or a volume",
        "privileged": "privileged containers are not available",
        "profiles": "every service is taken: delete what is not wanted",
        "extends": "what it extends is not read: write it out",
        "stop_signal": "SIGTERM is sent always",
        "devices": "devices are not available", "extra_hosts": "not available", "dns": "not available",
        "init": "not available: the image must reap its own children",
        "ulimits": "not available", "sysctls": "not available", "shm_size": "write a tmpfs volume on /dev/shm",
        "tty": "not available", "stdin_open": "not available",
        "platform": "the nodes' own is pulled",
    ]

    mutating func take(_ key: String, _ value: JSONValue) {
        switch key {
        case "image": takeText(key, value) { $0.spec["image"] = .string($1) }
        case "command": takeWords(key, value, as: "args")
        case "entrypoint": takeWords(key, value, as: "command")
        case "working_dir": takeText(key, value) { $0.spec["workingDir"] = .string($1) }
        case "environment": takeEnvironment(value)
        case "ports": takePorts(value)
        case "expose": takeExposed(value)
        case "volumes": takeVolumes(value)
        case "tmpfs": takeTemporary(value)
        case "healthcheck": takeHealth(value)
        case "user": takeUser(value)
        case "read_only": takeFlag(key, value) { $0.security["readOnlyRootFilesystem"] = .bool($1) }
        case "cap_add": takeCapabilities(value)
        case "cap_drop": use(key, "all are dropped to begin with")
        case "cpus": takeProcessors(key, value)
        case "mem_limit": takeMemory(key, value)
        case "pids_limit": takePids(key, value)
        case "deploy": takeDeploy(value)
        case "scale": takeReplicas(key, value)
        case "labels": takeLabels(value)
        case "stop_grace_period": takeGrace(value)
        case "pull_policy": takePullPolicy(value)
        case "restart": takeRestart(value)
        case "logging": takeLogging(value)
        case let key where key.hasPrefix("x-"): leave(key, "an extension")
        default: leave(key, Self.reasons[key] ?? "not known here")
        }
    }

    // MARK: Simple values

    private mutating func takeText(_ key: String, _ value: JSONValue, _ set: (inout Self, String) -> Void) {
        guard let text = literal(key, value) else { return }
        set(&self, text)
        use(key)
    }

    private mutating func takeFlag(_ key: String, _ value: JSONValue, _ set: (inout Self, Bool) -> Void) {
        guard let flag = Self.flag(value) else { return leave(key, "it must be true or false") }
        set(&self, flag)
        use(key)
    }

    static func flag(_ value: JSONValue?) -> Bool? {
        switch value?.stringValue?.lowercased() {
        case "true", "yes", "on": true
        case "false", "no", "off": false
        default: nil
        }
    }

    private mutating func takeWords(_ key: String, _ value: JSONValue, as field: String) {
        let words: [String]
        switch value {
        case .array(let elements):
            let literals = elements.map { $0.stringValue.flatMap(ComposeText.literal) }
            guard !literals.contains(nil) else {
                return leave(key, "it holds a variable, whose value is not known here: write it out")
            }
            words = literals.compactMap { $0 }
        default:
            guard let text = literal(key, value) else { return }
            guard let split = ComposeText.words(text) else { return leave(key, "a quote in it is not closed") }
            words = split
        }
        guard !words.isEmpty else { return leave(key, "it is empty; the image's own is used") }
        spec[field] = .array(words.map { .string($0) })
        use(key, "as \(field)")
    }

    /// `{A: b}` or `[A=b]`.
    private mutating func takeEnvironment(_ value: JSONValue) {
        var variables: [(name: String, value: String?)] = []
        switch value {
        case .object(let members):
            variables = members.sorted { $0.key < $1.key }.map { ($0.key, $0.value.stringValue) }
        case .array(let elements):
            for element in elements {
                guard let text = element.stringValue else {
                    leave("environment", "\(element.jsonText()): it must be a text")
                    continue
                }
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                variables.append((String(parts[0]), parts.count > 1 ? String(parts[1]) : nil))
            }
        default: return leave("environment", "it must be a map or a list")
        }
        var entries: [JSONValue] = []
        for variable in variables {
            guard let text = variable.value else {
                leave("environment.\(variable.name)", "its value comes from the shell that runs compose: write it out")
                continue
            }
            guard let value = ComposeText.literal(text) else {
                leave("environment.\(variable.name)", "\"\(text)\" holds a variable: write its value out")
                continue
            }
            entries.append(["name": .string(variable.name), "value": .string(value)])
        }
        guard !entries.isEmpty else { return }
        spec["environment"] = .array(entries)
        use("environment", "\(entries.count) of \(variables.count); passwords are better kept as secrets")
    }

    private mutating func takeLabels(_ value: JSONValue) {
        var pairs: [(String, String?)] = []
        switch value {
        case .object(let members): pairs = members.map { ($0.key, $0.value.stringValue) }
        case .array(let elements):
            pairs = elements.compactMap(\.stringValue).map { text in
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
            }
        default: return leave("labels", "it must be a map or a list")
        }
        for (name, text) in pairs.sorted(by: { $0.0 < $1.0 }) {
            guard let value = text.flatMap(ComposeText.literal) else {
                leave("labels.\(name)", "it has no value, or holds a variable")
                continue
            }
            labels[name] = .string(value)
        }
        if !labels.isEmpty { use("labels", "shown with the app; nothing acts on them") }
    }

    private mutating func takeUser(_ value: JSONValue) {
        guard let user = literal("user", value) else { return }
        security["user"] = .string(user)
        let name = user.split(separator: ":").first
        guard name == "0" || name == "root" else { return use("user") }
        security["allowRoot"] = true
        use("user", "with security.allowRoot, as it is root")
    }

    private mutating func takeCapabilities(_ value: JSONValue) {
        let names = texts("cap_add", value)
        guard !names.isEmpty else { return }
        security["capabilities"] = ["add": .array(names.map { .string($0) })]
        use("cap_add")
    }

    private mutating func takeGrace(_ value: JSONValue) {
        guard let text = literal("stop_grace_period", value) else { return }
        guard let seconds = ComposeText.seconds(text) else { return leave("stop_grace_period", "not a duration") }
        spec["termination"] = ["gracePeriodSeconds": JSONValue(Int(seconds.rounded(.up)))]
        use("stop_grace_period", "as termination.gracePeriodSeconds")
    }

    private mutating func takePullPolicy(_ value: JSONValue) {
        let policies = [
            "always": "Always", "missing": "IfNotPresent", "if_not_present": "IfNotPresent", "never": "Never",
        ]
        guard let policy = value.stringValue.flatMap({ policies[$0] }) else {
            return leave("pull_policy", "\(value.stringValue ?? "it") has no counterpart")
        }
        spec["pullPolicy"] = .string(policy)
        use("pull_policy")
    }

    private mutating func takeRestart(_ value: JSONValue) {
        switch value.stringValue {
        case "always", "unless-stopped": use("restart", "apps are always kept running")
        case let other:
            leave("restart", "\(other ?? "it"): an app is always kept running; one that ends is started again")
        }
    }

    private mutating func takeLogging(_ value: JSONValue) {
        guard let members = value.objectValue else { return leave("logging", "it must be a map") }
        leaveOthers(members, but: ["driver", "options"], at: "logging")
        let driver = members["driver"]?.stringValue ?? "json-file"
        guard driver == "json-file" else { return leave("logging", "the driver \(driver) is not available") }
        var options: [String: JSONValue] = [:]
        for (key, option) in (members["options"]?.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
            if ["max-size", "max-file"].contains(key), let text = literal("logging.options.\(key)", option) {
                options[key] = .string(text)
            } else {
                leave("logging.options.\(key)", "not available")
            }
        }
        guard !options.isEmpty else { return }
        spec["logging"] = ["options": .object(options)]
        use("logging", "max-size and max-file")
    }
}
