/// Reading what users submit: `{apiVersion, kind, metadata, spec, scaling, healthCheck}`, in the original's shape.
extension AppSpec {
    /// Reads and checks a submitted document.
    ///
    /// Defaults worth knowing: `scaling` may be left out (1 to 5 instances); an app in `auto` mode whose `scaling`
    /// names no target metric scales on CPU at 70% of the limit, one that names any scales only on those; without
    /// `healthCheck` the primary port must accept TCP connections; with one that names neither `protocol` nor anything
    /// of HTTP, too.
    /// - Returns: the spec, and the document in the original's flat form (`type`, `image`, `ports`, `health`, `labels`,
    ///   `scaling`, `resources`, and whatever else `spec` had), values as submitted: what `Application.document` holds.
    /// - Throws: every rule the document breaks, unknown fields included.
    public static func parse(_ document: JSONValue) throws(ValidationError) -> (spec: AppSpec, flat: JSONValue) {
        var reader = DocumentReader()
        let spec = reader.appSpec(document)
        let violations = reader.violations
        guard violations.isEmpty, let spec else {
            throw ValidationError(violations.isEmpty ? [Violation("", "is not an app")] : violations)
        }
        return (spec, flatForm(of: document))
    }

    /// Rebuilds the spec from the flat form that `parse(_:)` returned. Paths in violations are the submitted form's.
    public static func parse(flat: JSONValue, name: AppName) throws(ValidationError) -> AppSpec {
        guard flat.objectValue != nil else {
            throw ValidationError([Violation("", "must be an object, got \(DocumentReader.describe(flat))")])
        }
        return try parse(document(flat: flat, name: name)).spec
    }

    /// Applies the `policy` of `POST /apps/{name}/policy` to an app: fields given replace those of its `scaling`, null
    /// takes one away, all others stay. See `ScalingPolicy.parse(_:merging:)`.
    /// - Parameter flat: the app's stored document.
    /// - Returns: the spec and the flat document with the new policy in both.
    public func settingPolicy(
        _ posted: JSONValue, flat: JSONValue
    ) throws(ValidationError) -> (spec: AppSpec, flat: JSONValue) {
        let (policy, scaling) = try ScalingPolicy.parse(posted, merging: flat["scaling"] ?? [:])
        var members = flat.objectValue ?? [:]
        members["scaling"] = scaling
        var spec = self
        spec.scaling = policy
        return (spec, .object(members))
    }

    /// Precondition: `document` passed the reader.
    private static func flatForm(of document: JSONValue) -> JSONValue {
        func given(_ value: JSONValue?) -> JSONValue? { value == .null ? nil : value }
        var flat = (document["spec"]?.objectValue ?? [:]).filter { $0.value != .null }
        flat["resources"] = flat["resources"] ?? [:]
        flat["ports"] = flat["ports"] ?? []
        flat["labels"] = given(document["metadata"]?["labels"]) ?? [:]
        flat["scaling"] = given(document["scaling"]) ?? [:]
        flat["health"] = document["healthCheck"] ?? .null
        flat["liveness"] = given(document["livenessCheck"])
        return .object(flat)
    }
}

extension DocumentReader {
    fileprivate static let rootKeys = [
        "apiVersion", "kind", "metadata", "spec", "scaling", "healthCheck", "livenessCheck",
    ]
    fileprivate static let rootHints = [
        "name": "it belongs into metadata", "labels": "it belongs into metadata", "image": "it belongs into spec",
        "ports": "it belongs into spec", "type": "it belongs into spec", "resources": "it belongs into spec",
        "environment": "it belongs into spec", "env": "it belongs into spec", "health": "did you mean healthCheck?",
        "liveness": "did you mean livenessCheck?", "livenessProbe": "did you mean livenessCheck?",
        "readinessProbe": "did you mean healthCheck?",
    ]

    /// Nil only when something was reported.
    mutating func appSpec(_ document: JSONValue) -> AppSpec? {
        guard document.objectValue != nil else {
            report("", "must be an object with metadata and spec, got \(Self.describe(document))")
            return nil
        }
        guard let root = object(document, at: "", keys: Self.rootKeys, hints: Self.rootHints) else { return nil }
        let _: String? = choice(root, "apiVersion", [("v1", "v1")])
        let _: String? = choice(root, "kind", [("App", "App")])
        if root["metadata"] == nil { report("metadata", "is required: an object with the app's name") }
        if root["spec"] == nil { report("spec", "is required: an object with type, image and ports") }

        let metadata = object(
            root["metadata"], at: "metadata", keys: ["name", "labels"],
            hints: ["namespace": "there are no namespaces", "annotations": "use labels"])
        let name = metadata.flatMap { appName($0) }
        let labels = metadata.map { self.labels($0) } ?? [:]
        let container = container(root["spec"], name: name)
        let health = health(root["healthCheck"], at: "healthCheck", container: container)
        let liveness = self.liveness(root["livenessCheck"], container: container)
        let scaling = scaling(root["scaling"], at: "scaling")
        if scaling.minReplicas == 0, let kind = container?.kind, kind != .http {
            report("scaling.minReplicas", ScalingPolicy.zeroNeedsHTTP)
        }
        guard let name, var spec = container else { return nil }
        spec.name = name
        spec.labels = labels
        spec.health = health
        spec.liveness = liveness
        spec.scaling = scaling
        return spec
    }

    private mutating func appName(_ metadata: Object) -> AppName? {
        guard let value = metadata["name"] else {
            report("metadata.name", "is required: a DNS label such as \"web\"")
            return nil
        }
        guard let name = value.stringValue.flatMap(AppName.init(rawValue:)) else {
            report(
                "metadata.name",
                "must be a DNS label (1 to 63 of a-z, 0-9 and '-', no '-' first or last), got \(Self.describe(value))")
            return nil
        }
        return name
    }

    private mutating func labels(_ metadata: Object) -> [String: String] {
        guard let value = metadata["labels"] else { return [:] }
        guard case .object(let members) = value else {
            report("metadata.labels", "must be an object of strings, got \(Self.describe(value))")
            return [:]
        }
        guard members.count <= 64 else {
            report("metadata.labels", "must have at most 64 labels, got \(members.count)")
            return [:]
        }
        var labels: [String: String] = [:]
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            let path = "metadata.labels.\(Self.shortened(key))"
            if !isLabelKey(key) {
                report(path, "must be named with 1 to 128 of letters, digits, '.', '_', '-' and '/'")
            } else if key.hasPrefix("orchestry.") {
                report(path, "must not begin with \"orchestry.\", which is reserved for the containers' own labels")
            }
            if let text = plainText(value, at: path, showing: true) {
                if text.utf8.count <= 256, text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) {
                    labels[key] = text
                } else {
                    report(path, "must be at most 256 bytes without control characters")
                }
            }
        }
        return labels
    }

    private func isLabelKey(_ key: String) -> Bool {
        (1...128).contains(key.utf8.count) && key.utf8.allSatisfy { isAlphanumeric($0) || "._-/".utf8.contains($0) }
    }

    /// The text of a string, a whole number or a truth value. Fractions are refused, because YAML has already dropped
    /// what the author may have meant (`1.10` arrives as 1.1).
    /// - Parameter showing: whether the answer may repeat the value (not for the environment: it may be a secret).
    mutating func plainText(_ value: JSONValue, at path: String, showing: Bool) -> String? {
        switch value {
        case .string(let text): return text
        case .int(let number): return String(number)
        case .bool(let flag): return flag ? "true" : "false"
        case .double:
            report(path, "must be a string: put the number in quotes")
        case .null, .array, .object:
            report(path, "must be a string\(showing ? ", got \(Self.describe(value))" : "")")
        }
        return nil
    }
}

func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
}
