import Foundation
import OrchestryModel
import RestFacade
import Testing

struct RegisterTests {
    private static let yaml = """
        apiVersion: v1
        kind: App
        metadata:
          name: web
          labels: {version: "1"}
        spec:
          type: http
          image: web:1.4   # the shop
          ports:
            - containerPort: 9010
          environment:
            - {name: PORT, value: "9010"}
            - {name: DEBUG, value: yes}
          resources: {cpu: 0.5, memory: 128Mi}
        scaling: {minReplicas: 2, maxP95LatencyMs: 0x10}
        """

    private static let document: JSONValue = [
        "apiVersion": "v1", "kind": "App", "metadata": ["name": "web", "labels": ["version": "1"]],
        "spec": [
            "type": "http", "image": "web:1.4", "ports": [["containerPort": 9010]],
            "environment": [["name": "PORT", "value": "9010"], ["name": "DEBUG", "value": true]],
            "resources": ["cpu": 0.5, "memory": "128Mi"],
        ],
        "scaling": ["minReplicas": 2, "maxP95LatencyMs": 16],
    ]

    private static func accept(_ request: ControlRequest, _ number: Int) -> ControlResponse {
        ControlResponse(body: Presentation.registered(AppName(unchecked: "web"), revision: 1))
    }

    @Test(arguments: [
        ("app.yaml", yaml), ("app.json", document.jsonText()), ("app", yaml), ("-", yaml), ("-", document.jsonText()),
    ])
    func `a file or standard input, YAML or JSON`(_ name: String, _ content: String) async throws {
        try await FakeServer.run(Self.accept) { server in
            try await CommandLineRun.withFolder { folder in
                let file = folder.appendingPathComponent(name)
                if name != "-" { try content.write(to: file, atomically: true, encoding: .utf8) }
                let run = try await CommandLineRun.run(
                    ["register", name == "-" ? "-" : file.path], server: server.url, input: name == "-" ? content : nil)
                #expect(run.exitCode == 0, "\(run.errors)")
                #expect(run.output.hasPrefix("Registered web, revision 1.\n"))
                #expect(server.plane.requests.map(\.operation) == [.register(document: Self.document)])
            }
        }
    }

    @Test func `a refusal names every field on a line of its own`() async throws {
        try await FakeServer.run(Self.accept) { server in
            let run = try await CommandLineRun.run(
                ["register", "-"], server: server.url,
                input: "metadata: {name: Web}\nspec: {type: http, imag: x, ports: [{containerPort: 70000}]}\n")
            #expect(run.exitCode == 1)
            #expect(run.output == "")
            let lines = run.errors.split(separator: "\n").map(String.init)
            #expect(lines.first == "Error: The request breaks a rule")
            #expect(lines.contains { $0.hasPrefix("  metadata.name: must be a DNS label") })
            #expect(lines.contains("  spec.imag: is not a known field; did you mean image?"))
            #expect(lines.contains("  spec.ports[0].containerPort: must be a whole number from 1 to 65535, got 70000"))
        }
    }

    @Test(arguments: [
        ("a.yaml", "spec:\n  - a\n b: c\n", "is not YAML: line 3"), ("a.yaml", "a: 1\na: 2\n", "occurs twice"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "several documents"), ("a.yaml", "", "is empty"),
        ("a.json", "{\"a\":\n x}", "is not JSON: line 2, column 2"), ("a.yaml", "a: *x", "is not YAML"),
    ])
    func `a file that cannot be read as a document is wrong usage`(_ name: String, _ content: String, _ words: String)
        async throws
    {
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent(name)
            try content.write(to: file, atomically: true, encoding: .utf8)
            let run = try await CommandLineRun.run(["register", file.path])
            #expect(run.exitCode == 2)
            #expect(run.errors.contains(words), "\(run.errors)")
        }
    }

    @Test func `a bomb of aliases is refused`() async throws {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...8 {
            text +=
                "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
                + "]\n"
        }
        let run = try await CommandLineRun.run(["register", "-"], input: text)
        #expect(run.exitCode == 2)
        #expect(run.errors.contains("more than 100000 values"), "\(run.errors)")
    }

    @Test func `a file that is not there`() async throws {
        let run = try await CommandLineRun.run(["register", "/nowhere/app.yaml"])
        #expect(run.exitCode == 2)
        #expect(run.errors == "Error: there is no file /nowhere/app.yaml\n")
    }
}
