import OrchestryModel
import Testing

/// Volumes, logging and confinement in the words of compose files, Kubernetes and our own.
struct EngineOptionTests {
    private func parse(_ path: String, _ value: JSONValue) throws -> AppSpec {
        let (spec, flat) = try AppSpec.parse(Fixtures.document.with(path, value))
        #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec)
        return spec
    }

    struct VolumeRow: Sendable, CustomTestStringConvertible {
        var given: JSONValue
        var meant: AppSpec.Volume
        var testDescription: String { given.jsonText() }
    }

    @Test(arguments: [
        VolumeRow(given: "data:/srv", meant: .init(kind: .volume, source: "data", target: "/srv")),
        VolumeRow(
            given: "/host/x:/srv/y:ro", meant: .init(kind: .bind, source: "/host/x", target: "/srv/y", readOnly: true)),
        VolumeRow(given: "data:/srv:rw", meant: .init(kind: .volume, source: "data", target: "/srv")),
        VolumeRow(
            given: ["name": "data", "mountPath": "/srv", "readOnly": true],
            meant: .init(kind: .volume, source: "data", target: "/srv", readOnly: true)),
        VolumeRow(
            given: ["type": "bind", "source": "/host", "target": "/srv", "read_only": true],
            meant: .init(kind: .bind, source: "/host", target: "/srv", readOnly: true)),
        VolumeRow(
            given: ["type": "tmpfs", "target": "/cache", "size": "64Mi"],
            meant: .init(kind: .tmpfs, target: "/cache", sizeBytes: 64 << 20)),
    ])
    func `a volume`(_ row: VolumeRow) throws {
        #expect(try parse("spec.volumes", [row.given]).volumes == [row.meant])
    }

    @Test(
        arguments: [
            ("/only", "must be \"NAME:/target\"", "spec.volumes[0]"),
            ("a:b:c", "must be \"NAME:/target\"", "spec.volumes[0]"),
            ("a:srv", "absolute path in the container", "spec.volumes[0]"),
            ("a:/", "not its root", "spec.volumes[0]"), ("a:/x/../y", "without '..'", "spec.volumes[0]"),
            ("../a:/x", "a volume's name", "spec.volumes[0]"), ("/a/../b:/x", "without '..'", "spec.volumes[0]"),
            (["name": "a"], "is required: an absolute path", "spec.volumes[0].target"),
            (["target": "/x"], "is required: the volume's name", "spec.volumes[0].source"),
            (["type": "bind", "target": "/x"], "a path of the host", "spec.volumes[0].source"),
            (["type": "bind", "source": "x", "target": "/x"], "absolute path of the host", "spec.volumes[0].source"),
            (["type": "tmpfs", "target": "/x", "source": "a"], "is not for type tmpfs", "spec.volumes[0].source"),
            (["name": "a", "target": "/x", "size": 5], "is only for type tmpfs", "spec.volumes[0].size"),
            (["type": "tmpfs", "target": "/x", "size": "1"], "4Ki to 64Gi", "spec.volumes[0].size"),
            (["type": "nfs", "target": "/x"], "must be one of volume, bind, tmpfs", "spec.volumes[0].type"),
            (["name": "a", "source": "b", "target": "/x"], "which means the same", "spec.volumes[0].name"),
            (["hostPath": ["path": "/x"], "target": "/x"], "write type: bind and source", "spec.volumes[0].hostPath"),
        ] as [(JSONValue, String, String)])
    func `a volume that can't be`(_ given: JSONValue, _ words: String, _ field: String) throws {
        let error = #expect(throws: ValidationError.self) { try parse("spec.volumes", [given]) }
        #expect(
            error?.violations.contains { $0.field == field && $0.rule.contains(words) } == true,
            "\(String(describing: error))")
    }

    @Test func `a network of its own, and what can't be`() throws {
        #expect(try parse("spec.network", ["isolated": true]).isIsolated)
        #expect(try !parse("spec.network", ["isolated": false]).isIsolated)
        for (given, words) in [
            (["isolated": "yes"], "spec.network.isolated"), (["isolate": true], "did you mean isolated?"),
            ("own", "spec.network"),
        ] as [(JSONValue, String)] {
            let error = #expect(throws: ValidationError.self) { try parse("spec.network", given) }
            #expect(error.map { "\($0)".contains(words) } == true, "\(String(describing: error))")
        }
        var spec = try parse("spec.network", ["isolated": false])
        let before = spec
        spec.network = nil
        #expect(!AppSpec.needsNewRevision(from: before, to: spec), "the same in other words")
        spec.network = .init(isolated: true)
        #expect(AppSpec.needsNewRevision(from: before, to: spec))
    }

    @Test func `two volumes can't have one target, and what is mounted makes a revision`() throws {
        let error = #expect(throws: ValidationError.self) { try parse("spec.volumes", ["a:/x", "b:/x"]) }
        #expect(error?.violations.map(\.field) == ["spec.volumes[1]"])
        let old = try parse("spec.volumes", ["a:/x"])
        #expect(AppSpec.needsNewRevision(from: old, to: try parse("spec.volumes", ["a:/x:ro"])))
        #expect(!AppSpec.needsNewRevision(from: old, to: try parse("spec.volumes", [["name": "a", "target": "/x"]])))
    }

    @Test(
        arguments: [
            (["maxSize": "10Mi", "maxFiles": 5], 10 << 20, 5), (["maxSize": "10m"], 10_000_000, nil),
            (["driver": "json-file", "options": ["max-size": "200k", "max-file": "3"]], 200_000, 3), ([:], nil, nil),
        ] as [(JSONValue, Int64?, Int?)])
    func `logging in our words and compose's`(_ given: JSONValue, _ size: Int64?, _ files: Int?) throws {
        #expect(try parse("spec.logging", given).logs == .init(maxSizeBytes: size, maxFiles: files))
    }

    @Test(
        arguments: [
            (["driver": "syslog"], "must be one of json-file"), (["maxSize": "1k"], "64Ki to 1Gi"),
            (["maxFiles": 0], "from 1 to 100"),
            (["options": ["labels": "x"]], "is not a known field"),
        ] as [(JSONValue, String)])
    func `logging that can't be`(_ given: JSONValue, _ words: String) throws {
        let error = #expect(throws: ValidationError.self) { try parse("spec.logging", given) }
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }

    @Test func `capabilities in both forms, none by default`() throws {
        #expect(try parse("spec.security", [:]).security.addCapabilities == [])
        #expect(
            try parse("spec.security", ["capabilities": ["add": ["CAP_NET_BIND_SERVICE"], "drop": ["ALL"]]]).security
                .addCapabilities == ["NET_BIND_SERVICE"])
        let error = #expect(throws: ValidationError.self) {
            try parse("spec.security", ["addCapabilities": ["CHOWN"], "capabilities": ["drop": ["chown", "FLY"]]])
        }
        #expect(
            error?.violations.map(\.field) == [
                "spec.security.capabilities.drop[0]", "spec.security.capabilities.drop[1]",
            ])
    }

    @Test(
        arguments: [
            ("RuntimeDefault", nil), ("runtimeDefault", nil), ("unconfined", "Unconfined"), ("web-1", "web-1"),
            (["type": "RuntimeDefault"], nil), (["type": "Unconfined"], "Unconfined"),
            (["type": "Localhost", "localhostProfile": "web-1"], "web-1"),
        ] as [(JSONValue, String?)])
    func `profiles by name and in Kubernetes' form`(_ given: JSONValue, _ meant: String?) throws {
        for key in ["seccompProfile", "appArmorProfile"] {
            let security = try parse("spec.security", .object([key: given])).security
            #expect((key == "seccompProfile" ? security.seccompProfile : security.appArmorProfile) == meant)
        }
    }

    @Test(arguments: ["../etc", ["type": "Localhost"], ["type": "None"], [:], 5] as [JSONValue])
    func `a profile that can't be`(_ given: JSONValue) throws {
        #expect(throws: ValidationError.self) { try parse("spec.security", ["seccompProfile": given]) }
    }

    @Test(arguments: [
        ("/srv", "/srv", true), ("/srv/a/b", "/srv", true), ("/srv2", "/srv", false), ("/", "/srv", false),
        ("/x", "/", true),
        ("srv", "/srv", false), ("/srv", "", false),
    ])
    func `a path within a folder`(_ path: String, _ folder: String, _ expected: Bool) {
        #expect(isPath(path, within: folder) == expected)
    }

    @Test func `a spec stored before these options were there can be read`() throws {
        let new = try parse("spec.volumes", [])
        var document = try JSONValue(json: jsonEncoded(new)).objectValue ?? [:]
        for key in ["volumes", "logs", "network", "liveness", "imagePullSecret"] { document[key] = nil }
        var health = document["health"]?.objectValue ?? [:]
        health["expectedStatusRanges"] = nil
        document["health"] = .object(health)
        #expect(try jsonDecoded(AppSpec.self, .object(document)) == new)
    }
}
