import OrchestryModel
import Testing

/// TLS, address lists and maintenance of `spec.routing`.
struct RoutingOptionTests {
    private func parse(_ routing: JSONValue) throws -> AppSpec.Routing {
        let (spec, flat) = try AppSpec.parse(Fixtures.document.with("spec.routing", routing))
        #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec)
        return spec.routing
    }

    @Test func `all of it`() throws {
        let routing = try parse([
            "tls": ["certificateSecret": "shop.crt", "keySecret": "shop.key"], "allow": ["10.0.0.0/8", "fd00::/8"],
            "deny": ["10.0.0.13"], "maintenance": ["message": "Back at ten", "retryAfterSeconds": 300],
        ])
        #expect(
            routing.tls
                == .init(
                    certificateSecret: SecretName(unchecked: "shop.crt"), keySecret: SecretName(unchecked: "shop.key"),
                    redirect: true))
        #expect(routing.allow?.map(\.rawValue) == ["10.0.0.0/8", "fd00::/8"])
        #expect(routing.deny?.map(\.rawValue) == ["10.0.0.13"])
        #expect(routing.maintenance == .init(retryAfterSeconds: 300, message: "Back at ten"))
        let spec = try AppSpec.parse(
            Fixtures.document.with("spec.routing", ["tls": ["certificateSecret": "b", "keySecret": "a"]])
        ).spec
        #expect(spec.routingSecrets.map(\.rawValue) == ["a", "b"])
        // What only the proxy needs holds no instance back.
        #expect(spec.secretNames.isEmpty && spec.allSecretNames == spec.routingSecrets)
    }

    @Test func `nothing of it is the default, in short forms too`() throws {
        let plain = try parse(["hosts": ["x"]])
        #expect(plain == AppSpec.Routing(hosts: ["x"]))
        #expect(try parse(["hosts": ["x"], "maintenance": false, "allow": [], "deny": []]) == plain)
        #expect(try parse(["maintenance": true]).maintenance == .init())
        #expect(
            try parse(["tls": ["certificateSecret": "a", "keySecret": "b", "redirect": false]]).tls?.redirect == false)
    }

    @Test(
        arguments: [
            (["tls": true], "must be an object", "tls"),
            (["tls": ["keySecret": "a"]], "the name of the secret with the certificate", "tls.certificateSecret"),
            (["tls": ["certificateSecret": "a"]], "the name of the secret with the private key", "tls.keySecret"),
            (["tls": ["certificateSecret": "a b", "keySecret": "k"]], "a secret's name", "tls.certificateSecret"),
            (["tls": ["certificateSecret": "a", "keySecret": "a"]], "another secret", "tls.keySecret"),
            (
                ["tls": ["certificateSecret": "a", "keySecret": "b", "redirect": 1]], "must be true or false",
                "tls.redirect"
            ),
            (["ssl": ["x": 1]], "did you mean tls?", "ssl"), (["allow": "10.0.0.1"], "must be a list", "allow"),
            (["allow": ["10.0.0.1", "10.0.0.300"]], "must be an address or a network", "allow[1]"),
            (["deny": ["10.0.0.1", "10.0.0.1"]], "must not repeat", "deny[1]"),
            (
                ["maintenance": ["retryAfterSeconds": 0]], "a whole number from 1 to 86400",
                "maintenance.retryAfterSeconds"
            ),
            (["maintenance": "on"], "must be true, false or an object", "maintenance"),
            (["maintenance": ["message": "a\nb"]], "a line of 1 to 200 bytes", "maintenance.message"),
        ] as [(JSONValue, String, String)])
    func `a mistake is named`(_ routing: JSONValue, _ rule: String, _ field: String) throws {
        let error = #expect(throws: ValidationError.self) { _ = try parse(routing) }
        let violation = try #require(error?.violations.first)
        #expect(violation.field == "spec.routing.\(field)")
        #expect(violation.description.contains(rule), "\(violation)")
    }

    @Test(arguments: [
        "10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::", "::/0", "::1/128", "fd00::/8", "1:2:3:4:5:6:7:8", "1::8", "1:2::",
        "FE80::1/10",
    ])
    func `an address range`(_ text: String) { #expect(AddressRange(rawValue: text)?.rawValue == text) }

    @Test(arguments: [
        "", "10", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/8/8",
        "10.0.0.1; }", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::", "::/129",
        "::ffff:10.0.0.1", "fe80::1%eth0", "all",
    ])
    func `no address range`(_ text: String) { #expect(AddressRange(rawValue: text) == nil) }

    @Test func `stored forms of earlier releases are read, and an empty one is not bigger`() throws {
        let text = String(decoding: try jsonEncoded(AppSpec.Routing(hosts: ["x"])), as: UTF8.self)
        for member in ["tls", "allow", "deny", "maintenance"] { #expect(!text.contains(member), "\(text)") }
    }
}
