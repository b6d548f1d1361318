/// `spec.volumes` and `spec.logging`, in the words of compose files and Kubernetes.
extension DocumentReader {
    private static let volumeKeys = [
        "type", "name", "source", "target", "mountPath", "readOnly", "read_only", "size",
    ]
    private static let volumeHints = [
        "hostPath": "write type: bind and source", "emptyDir": "write type: tmpfs",
        "tmpfs": "write type: tmpfs and size",
        "persistentVolumeClaim": "write name", "bind": "write type: bind and source",
        "destination": "did you mean target?",
        "subPath": "mount the folder itself", "mode": "write readOnly: true or false",
    ]

    mutating func volumes(_ spec: Object) -> [AppSpec.Volume] {
        var volumes: [AppSpec.Volume] = []
        for (path, value) in list(spec, "volumes", atMost: 32, of: "{type, name or source, target}") ?? [] {
            let volume: AppSpec.Volume?
            if case .string(let text) = value {
                volume = shortVolume(text, at: path)
            } else if value == .null {
                report(path, "must be an object with a target")
                volume = nil
            } else {
                volume = object(value, at: path, keys: Self.volumeKeys, hints: Self.volumeHints)
                    .flatMap { longVolume($0, at: path) }
            }
            guard let volume else { continue }
            if volumes.contains(where: { $0.target == volume.target }) {
                report(path, "must not mount a second volume on \(volume.target)")
            }
            volumes.append(volume)
        }
        return volumes
    }

    /// `name:/target`, `/host/path:/target`, either with `:ro` or `:rw`; `/target` alone is not taken: it would be lost
    /// with the container.
    private mutating func shortVolume(_ text: String, at path: String) -> AppSpec.Volume? {
        var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        var readOnly = false
        if parts.count == 3, parts[2] == "ro" || parts[2] == "rw" { readOnly = parts.removeLast() == "ro" }
        guard parts.count == 2 else {
            report(path, "must be \"NAME:/target\" or \"/host/path:/target\", with \":ro\" where it is read-only")
            return nil
        }
        let kind: AppSpec.Volume.Kind = parts[0].hasPrefix("/") ? .bind : .volume
        guard let source = checkedSource(.string(parts[0]), kind, at: path),
            let target = checkedTarget(.string(parts[1]), at: path)
        else { return nil }
        return AppSpec.Volume(kind: kind, source: source, target: target, readOnly: readOnly)
    }

    private mutating func longVolume(_ entry: Object, at path: String) -> AppSpec.Volume? {
        let given: AppSpec.Volume.Kind? = choice(
            entry, "type", [("volume", .volume), ("bind", .bind), ("tmpfs", .tmpfs)])
        if entry["type"] != nil, given == nil { return nil }
        let kind = given ?? .volume
        if entry["name"] != nil, entry["source"] != nil {
            report(entry.path(of: "name"), "must not be given beside source, which means the same")
        }
        if entry["target"] != nil, entry["mountPath"] != nil {
            report(entry.path(of: "mountPath"), "must not be given beside target, which means the same")
        }
        let sourceKey = entry["source"] == nil && entry["name"] != nil ? "name" : "source"
        let targetKey = entry["target"] == nil && entry["mountPath"] != nil ? "mountPath" : "target"
        var source = ""
        if kind == .tmpfs {
            if entry[sourceKey] != nil { report(entry.path(of: sourceKey), "is not for type tmpfs") }
        } else if let value = entry[sourceKey] {
            source = checkedSource(value, kind, at: entry.path(of: sourceKey)) ?? ""
        } else {
            report(
                entry.path(of: "source"),
                kind == .bind ? "is required: a path of the host" : "is required: the volume's name")
        }
        let size = entry["size"].flatMap { tmpfsSize($0, kind, at: entry.path(of: "size")) }
        let isReadOnly = boolean(entry, "readOnly") ?? boolean(entry, "read_only") ?? false
        guard let value = entry[targetKey] else {
            report(entry.path(of: "target"), "is required: an absolute path in the container")
            return nil
        }
        guard let target = checkedTarget(value, at: entry.path(of: targetKey)) else { return nil }
        return AppSpec.Volume(kind: kind, source: source, target: target, readOnly: isReadOnly, sizeBytes: size)
    }

    private mutating func tmpfsSize(_ value: JSONValue, _ kind: AppSpec.Volume.Kind, at path: String) -> Int64? {
        guard kind == .tmpfs else {
            report(path, "is only for type tmpfs")
            return nil
        }
        if let bytes = Quantity.bytes(value), ((4 << 10)...(64 << 30)).contains(bytes) { return bytes }
        report(path, "must be 4Ki to 64Gi, got \(Self.describe(value))")
        return nil
    }

    private mutating func checkedSource(_ value: JSONValue, _ kind: AppSpec.Volume.Kind, at path: String) -> String? {
        kind == .bind
            ? text(value, at: path, atMost: 4_096, "an absolute path of the host without '..'", isPlainPath)
            : text(
                value, at: path, atMost: 63,
                "a volume's name (letters, digits, '.', '_', '-', a letter or digit first)",
                SecretName.isValid)
    }

    private mutating func checkedTarget(_ value: JSONValue, at path: String) -> String? {
        text(
            value, at: path, atMost: 4_096, "an absolute path in the container, not its root and without '..'",
            isMountTarget)
    }

    // MARK: Logging

    /// `{maxSize, maxFiles}`, or compose's `{driver: json-file, options: {max-size, max-file}}`.
    mutating func logging(_ spec: Object) -> AppSpec.LogOptions? {
        guard
            let section = object(
                spec["logging"], at: "spec.logging", keys: ["maxSize", "maxFiles", "driver", "options"],
                hints: ["maxFile": "did you mean maxFiles?"])
        else { return nil }
        let _: Bool? = choice(section, "driver", [("json-file", true)])
        var result = AppSpec.LogOptions()
        let options = object(
            section["options"], at: "spec.logging.options", keys: ["max-size", "max-file"])
        for (object, sizeKey, filesKey) in [
            (section, "maxSize", "maxFiles"), (options ?? section, "max-size", "max-file"),
        ] {
            if let value = object[sizeKey] { result.maxSizeBytes = logSize(value, at: object.path(of: sizeKey)) }
            if let value = object[filesKey] {
                // Compose files write it as text.
                let number = value.stringValue.flatMap(Int64.init).map(JSONValue.int) ?? value
                result.maxFiles = integer(number, at: object.path(of: filesKey), 1...100)
            }
        }
        return result
    }

    private mutating func logSize(_ value: JSONValue, at path: String) -> Int64? {
        // The engine's own "10m" is millions of bytes.
        let text = value.stringValue.map { JSONValue.string($0.replacing("m", with: "M").replacing("g", with: "G")) }
        if let bytes = Quantity.bytes(text ?? value), ((64 << 10)...(1 << 30)).contains(bytes) { return bytes }
        report(path, "must be 64Ki to 1Gi, as \"10m\", \"10Mi\" or bytes, got \(Self.describe(value))")
        return nil
    }
}

extension DocumentReader {
    mutating func network(_ spec: Object) -> AppSpec.Network? {
        guard
            let section = object(
                spec["network"], at: "spec.network", keys: ["isolated"],
                hints: [
                    "isolate": "did you mean isolated?", "mode": "write isolated: true",
                    "internal": "write isolated: true",
                ])
        else { return nil }
        return boolean(section, "isolated").map { AppSpec.Network(isolated: $0) }
    }
}

private func isMountTarget(_ text: String) -> Bool { isPlainPath(text) && text != "/" }

/// Absolute; no empty, `.` or `..` part; no colon, which engines split at.
private func isPlainPath(_ text: String) -> Bool {
    text.hasPrefix("/") && !text.contains(":")
        && (text == "/"
            || text.dropFirst().split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
                !$0.isEmpty && $0 != "." && $0 != ".."
            })
}
