/// The `spec` section: what a container is made from and how it is reached.
extension DocumentReader {
    private static let specKeys = [
        "type", "image", "ports", "resources", "environment", "env", "command", "args", "workingDir", "pullPolicy",
        "imagePullSecret", "security", "volumes", "logging", "network", "routing", "termination", "rollout",
    ]
    private static let specHints = [
        "scaling": "it belongs beside spec, at the document's root",
        "healthCheck": "it belongs beside spec, at the document's root",
        "health": "write healthCheck beside spec, at the document's root",
        "labels": "it belongs into metadata", "name": "it belongs into metadata",
        "volumeMounts": "write volumes, each with its target", "log_driver": "did you mean logging?",
        "cap_add": "write security.capabilities.add", "cap_drop": "all are dropped; add with security.capabilities.add",
        "read_only": "write security.readOnlyRootFilesystem", "user": "write security.user",
        "tmpfs": "write volumes: [{type: tmpfs, target: PATH}]", "mem_limit": "write resources.memory",
        "cpus": "write resources.cpu", "pids_limit": "write resources.pids",
        "replicas": "write scaling.minReplicas and scaling.maxReplicas",
        "imagePullPolicy": "did you mean pullPolicy?", "securityContext": "did you mean security?",
        "imagePullSecrets": "write imagePullSecret: NAME, a secret with `user:password` (orchestry secret set NAME)",
        "workingDirectory": "did you mean workingDir?", "arguments": "did you mean args?",
    ]

    /// The spec without metadata, health and scaling, which the caller fills in; any valid name stands in for a bad one.
    mutating func container(_ value: JSONValue?, name: AppName?) -> AppSpec? {
        guard let spec = object(value, at: "spec", keys: Self.specKeys, hints: Self.specHints) else { return nil }
        let kind: AppSpec.Kind? = choice(spec, "type", [("http", .http), ("tcp", .tcp), ("worker", .worker)])
        if spec["type"] == nil { report("spec.type", "is required: http, tcp or worker") }
        if spec["image"] == nil { report("spec.image", "is required: an image reference such as \"web:1.4\"") }
        let image = text(
            spec, "image", atMost: 512, "an image reference (repository[:tag][@sha256:digest], lower case)",
            isImageReference)
        let standIn = name ?? AppName(unchecked: "app")
        return AppSpec(
            name: standIn, kind: kind ?? .http, image: image ?? "",
            pullPolicy: choice(
                spec, "pullPolicy", [("IfNotPresent", .ifNotPresent), ("Always", .always), ("Never", .never)])
                ?? .ifNotPresent,
            imagePullSecret: secretName(spec, "imagePullSecret"),
            command: words(spec, "command"), arguments: words(spec, "args"),
            workingDirectory: text(spec, "workingDir", atMost: 4096, "an absolute path") { $0.hasPrefix("/") },
            environment: environment(spec), ports: ports(spec, kind: kind), resources: resources(spec),
            security: security(spec), volumes: volumes(spec), logs: logging(spec),
            network: network(spec),
            routing: routing(spec, kind: kind, name: standIn),
            termination: termination(spec), rollout: rollout(spec, kind: kind))
    }

    private mutating func words(_ spec: Object, _ key: String) -> [String]? {
        guard let elements = list(spec, key, atMost: 256, of: "strings") else { return nil }
        var words: [String] = []
        for (path, value) in elements {
            guard let word = plainText(value, at: path, showing: true) else { continue }
            if word.utf8.count > 32_768 || word.utf8.contains(0) {
                report(path, "must be at most 32768 bytes without NUL")
            }
            words.append(word)
        }
        if key == "command", elements.isEmpty, spec[key]?.arrayValue != nil {
            report("spec.command", "must not be empty: leave it out to use the image's own")
        }
        return words
    }

    // MARK: Ports

    private mutating func ports(_ spec: Object, kind: AppSpec.Kind?) -> [AppSpec.Port] {
        let elements = list(spec, "ports", atMost: 16, of: "{containerPort, protocol, name}")
        let isEmpty = elements == nil || spec["ports"]?.arrayValue?.isEmpty == true
        if isEmpty, let kind, kind != .worker {
            report("spec.ports", "must have at least one port for an app of type \(kind.rawValue)")
        }
        var ports: [AppSpec.Port] = []
        for (path, value) in elements ?? [] {
            guard let entry = object(value, at: path, keys: ["containerPort", "protocol", "name"]) else {
                if value == .null { report(path, "must be an object with containerPort") }
                continue
            }
            if entry["containerPort"] == nil { report("\(path).containerPort", "is required: 1 to 65535") }
            let number = integer(entry, "containerPort", 1...65_535)
            let scheme: AppSpec.Port.Scheme? = choice(entry, "protocol", [("HTTP", .http), ("TCP", .tcp)])
            let name = text(entry, "name", atMost: 63, "a DNS label", isDNSLabel)
            guard let number else { continue }
            if ports.contains(where: { $0.containerPort == number }) {
                report("\(path).containerPort", "must not repeat a port, got \(number) twice")
            }
            if let name, ports.contains(where: { $0.name == name }) {
                report("\(path).name", "must not repeat a name, got \"\(name)\" twice")
            }
            ports.append(
                AppSpec.Port(containerPort: number, scheme: scheme ?? (kind == .http ? .http : .tcp), name: name))
        }
        return ports
    }

    // MARK: Environment

    private mutating func environment(_ spec: Object) -> [AppSpec.EnvironmentVariable] {
        if spec["environment"] != nil, spec["env"] != nil {
            report("spec.env", "must not be given beside environment, which means the same")
        }
        let key = spec["environment"] != nil ? "environment" : "env"
        let hints = [
            "valueFrom": "write source: secret and key: NAME, or source: sdk",
            "secret": "write source: secret and key: NAME",
        ]
        var variables: [AppSpec.EnvironmentVariable] = []
        var names: Set<String> = []
        for (path, value) in list(spec, key, atMost: 512, of: "{name, value}") ?? [] {
            guard let entry = object(value, at: path, keys: ["name", "value", "source", "key"], hints: hints)
            else {
                if value == .null { report(path, "must be an object with name and value") }
                continue
            }
            if entry["name"] == nil { report("\(path).name", "is required") }
            let name = text(
                entry, "name", atMost: 256, "a variable's name (letters, digits, '_', '.', '-', no digit first)",
                isVariableName)
            let source = variableSource(entry)
            guard let name else { continue }
            if !names.insert(name).inserted { report("\(path).name", "must not repeat a name, got \"\(name)\" twice") }
            if let source { variables.append(AppSpec.EnvironmentVariable(name: name, source: source)) }
        }
        let secrets = Set(
            variables.compactMap { variable in
                if case .secret(let name) = variable.source { name } else { nil }
            })
        if secrets.count > SealedSecret.maximumPerApp {
            report(
                "spec.\(key)",
                "must name at most \(SealedSecret.maximumPerApp) different secrets, got \(secrets.count)")
        }
        return variables
    }

    private mutating func secretName(_ object: Object, _ key: String) -> SecretName? {
        text(object, key, atMost: 63, "a secret's name (letters, digits, '.', '_', '-')", SecretName.isValid)
            .map(SecretName.init(unchecked:))
    }

    private mutating func variableSource(_ entry: Object) -> AppSpec.EnvironmentVariable.Source? {
        enum Kind { case value, sdk, secret }
        let kind: Kind
        if entry["source"] == nil {
            kind = .value
        } else {
            guard
                let given: Kind = choice(
                    entry, "source", [("value", .value), ("sdk", .sdk), ("secret", .secret)])
            else { return nil }
            kind = given
        }
        switch kind {
        case .secret:
            if entry["value"] != nil { report(entry.path(of: "value"), "must not be given with source secret") }
            if entry["key"] == nil {
                report(entry.path(of: "key"), "is required with source secret: a name from `orchestry secret list`")
            }
            return secretName(entry, "key").map { .secret($0) }
        case .sdk:
            if entry["value"] != nil { report(entry.path(of: "value"), "must not be given with source sdk") }
            let keys = AppSpec.EnvironmentVariable.sdkKeys
            if entry["key"] == nil {
                report(entry.path(of: "key"), "is required with source sdk: \(keys.joined(separator: ", "))")
            }
            return choice(entry, "key", keys.map { ($0, $0) }).map { .sdk($0) }
        case .value:
            if entry["key"] != nil { report(entry.path(of: "key"), "is only for source sdk or secret") }
            // Null and absent both mean the empty value, as in a shell's `A=`.
            guard let value = entry["value"] else { return .value("") }
            let path = entry.path(of: "value")
            guard let text = plainText(value, at: path, showing: false) else { return nil }
            guard text.utf8.count <= 131_071, !text.utf8.contains(0) else {
                report(path, "must be at most 131071 bytes (the kernel's limit) without NUL")
                return nil
            }
            return .value(text)
        }
    }

    // MARK: Resources, security

    private mutating func resources(_ spec: Object) -> AppSpec.Resources {
        let defaults = AppSpec.Resources()
        let advice = "write cpu and memory directly: they are hard limits and what is reserved"
        guard
            let resources = object(
                spec["resources"], at: "spec.resources", keys: ["cpu", "memory", "pids"],
                hints: ["limits": advice, "requests": advice])
        else { return defaults }
        var result = defaults
        if let value = resources["cpu"] {
            if let millicores = Quantity.millicores(value), (10...16_000).contains(millicores) {
                result.cpuMillicores = millicores
            } else {
                report(
                    "spec.resources.cpu",
                    "must be 10m to 16 cores, as \"250m\", \"1\" or 2.5, got \(Self.describe(value))")
            }
        }
        if let value = resources["memory"] {
            if let bytes = Quantity.bytes(value), ((6 << 20)...(64 << 30)).contains(bytes) {
                result.memoryBytes = bytes
            } else {
                report(
                    "spec.resources.memory",
                    "must be 6Mi to 64Gi, as \"128Mi\", \"1Gi\", \"512M\" or bytes, got \(Self.describe(value))")
            }
        }
        result.pidsLimit = integer(resources, "pids", 16...32_768) ?? defaults.pidsLimit
        return result
    }

    private mutating func security(_ spec: Object) -> AppSpec.Security {
        var result = AppSpec.Security()
        guard
            let security = object(
                spec["security"], at: "spec.security",
                keys: [
                    "user", "allowRoot", "readOnlyRootFilesystem", "addCapabilities", "capabilities", "seccompProfile",
                    "appArmorProfile",
                ],
                hints: [
                    "privileged": "privileged containers are not available", "runAsUser": "did you mean user?",
                    "runAsGroup": "write user: \"UID:GID\"", "runAsNonRoot": "it is so unless allowRoot is true",
                    "allowPrivilegeEscalation": "it is never allowed: no-new-privileges is always set",
                    "seccomp": "did you mean seccompProfile?", "apparmor": "did you mean appArmorProfile?",
                ])
        else { return result }
        if let value = security["user"] {
            // A bare number is a user id.
            let user = value.intValue.map { JSONValue.string(String($0)) } ?? value
            result.user = text(
                user, at: "spec.security.user", atMost: 64, "uid[:gid] or a user's name in the image", isUser)
        }
        result.allowRoot = boolean(security, "allowRoot") ?? false
        result.readOnlyRootFilesystem = boolean(security, "readOnlyRootFilesystem") ?? false
        if let user = result.user?.split(separator: ":").first, user == "0" || user == "root", !result.allowRoot {
            report("spec.security.user", "must not be root unless allowRoot is true")
        }
        result.seccompProfile = profile(security, "seccompProfile")
        result.appArmorProfile = profile(security, "appArmorProfile")
        addCapabilities(security, "addCapabilities", to: &result)
        let nested = object(security["capabilities"], at: "spec.security.capabilities", keys: ["add", "drop"])
        if let nested {
            addCapabilities(nested, "add", to: &result)
            // All are dropped to begin with; naming some changes nothing, unless they are added too.
            for (path, value) in list(nested, "drop", atMost: 41, of: "capability names") ?? [] {
                guard let name = capability(value, at: path, or: ["ALL"]) else { continue }
                if result.addCapabilities.contains(name) { report(path, "must not drop \(name), which is added") }
            }
        }
        return result
    }

    private mutating func addCapabilities(_ object: Object, _ key: String, to security: inout AppSpec.Security) {
        for (path, value) in list(object, key, atMost: 41, of: "capability names") ?? [] {
            guard let name = capability(value, at: path, or: []) else { continue }
            if !security.addCapabilities.contains(name) { security.addCapabilities.append(name) }
        }
    }

    private mutating func capability(_ value: JSONValue, at path: String, or others: [String]) -> String? {
        let name = value.stringValue?.uppercased() ?? ""
        let plain = name.hasPrefix("CAP_") ? String(name.dropFirst(4)) : name
        if linuxCapabilities.contains(plain) || others.contains(plain) { return plain }
        report(path, "must be a Linux capability such as NET_BIND_SERVICE, got \(Self.describe(value))")
        return nil
    }

    /// `RuntimeDefault` is the same as nothing. Kubernetes' object form is understood too.
    private mutating func profile(_ security: Object, _ key: String) -> String? {
        guard let value = security[key] else { return nil }
        let path = security.path(of: key)
        if value.objectValue != nil {
            guard let entry = object(value, at: path, keys: ["type", "localhostProfile"]) else { return nil }
            enum Kind { case standard, none, local }
            let kind: Kind? = choice(
                entry, "type", [("RuntimeDefault", .standard), ("Unconfined", .none), ("Localhost", .local)])
            switch kind {
            case .standard?: return nil
            case Kind.none?: return "Unconfined"
            case .local?:
                if entry["localhostProfile"] == nil {
                    report("\(path).localhostProfile", "is required with type Localhost")
                }
                return profileName(entry["localhostProfile"], at: "\(path).localhostProfile")
            case nil:
                if entry["type"] == nil {
                    report("\(path).type", "is required: RuntimeDefault, Unconfined or Localhost")
                }
                return nil
            }
        }
        let name = profileName(value, at: path)
        if name?.lowercased() == "runtimedefault" { return nil }
        return name?.lowercased() == "unconfined" ? "Unconfined" : name
    }

    private mutating func profileName(_ value: JSONValue?, at path: String) -> String? {
        value.flatMap {
            text(
                $0, at: path, atMost: 63,
                "RuntimeDefault, Unconfined or a profile's name (letters, digits, '.', '_', '-')",
                SecretName.isValid)
        }
    }

    // MARK: Termination

    private mutating func termination(_ spec: Object) -> AppSpec.Termination {
        var result = AppSpec.Termination()
        guard
            let section = object(
                spec["termination"], at: "spec.termination", keys: ["drainSeconds", "gracePeriodSeconds"])
        else { return result }
        result.drainSeconds = integer(section, "drainSeconds", 0...3_600) ?? result.drainSeconds
        result.gracePeriodSeconds = integer(section, "gracePeriodSeconds", 0...600) ?? result.gracePeriodSeconds
        return result
    }
}
