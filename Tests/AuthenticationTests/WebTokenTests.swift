import AccessControl
import Authentication
import Crypto
import OrchestryModel
import TestSupport
import Testing

/// Signatures and headers; what the claims must be is in `WebTokenRulesTests`.
struct WebTokenTests {
    private static let rules = WebTokenRules(issuer: "https://id.example", audience: "orchestry")
    private static let now = WallTime(seconds: 1_800_000_000)
    private static let claims: JSONValue = [
        "iss": "https://id.example", "aud": "orchestry", "sub": "ann", "role": "operator", "exp": 1_800_000_100,
    ]
    private let keys: WebTokenKeys

    init() throws { keys = try WebTokenKeys() }

    private func verifier(secret: Bool = true, keySet: Bool = true) async throws -> WebTokenVerifier {
        try await WebTokenVerifier(
            secret: secret ? keys.secret : nil, keySet: keySet ? try keys.keySet().jsonText() : nil, rules: Self.rules)
    }

    private func refusal(_ token: String, by verifier: WebTokenVerifier) -> String? {
        do throws(WebTokenRules.Refusal) {
            _ = try verifier.verify(token, now: Self.now)
            return nil
        } catch {
            return error.description
        }
    }

    @Test(arguments: WebTokenKeys.Kind.allCases)
    func `each algorithm's token is believed, and no other's signature under its name`(_ kind: WebTokenKeys.Kind)
        async throws
    {
        let verifier = try await verifier()
        let found = try verifier.verify(try keys.token(kind, claims: Self.claims), now: Self.now)
        #expect(found.name == "ann" && found.grant == AccessGrant(role: .operator))
        for other in WebTokenKeys.Kind.allCases where other != kind {
            let confused = try keys.token(
                kind, claims: Self.claims, header: ["alg": .string(other.rawValue), "kid": .string(other.rawValue)])
            #expect(refusal(confused, by: verifier)?.contains("signature is wrong") == true)
        }
        // One bit of the signature, and of the claims.
        let parts = try keys.token(kind, claims: Self.claims).split(separator: ".").map(String.init)
        var signature = try #require(Base64URL.decode(parts[2]))
        signature[5] ^= 1
        #expect(refusal("\(parts[0]).\(parts[1]).\(Base64URL.encode(signature))", by: verifier) != nil)
        var members = try #require(Self.claims.objectValue)
        members["role"] = "admin"
        let claims = Base64URL.encode(JSONValue.object(members).jsonBytes())
        #expect(refusal("\(parts[0]).\(claims).\(parts[2])", by: verifier)?.contains("signature") == true)
        let stranger = try WebTokenKeys()
        #expect(refusal(try stranger.token(kind, claims: Self.claims), by: verifier)?.contains("signature") == true)
    }

    @Test func `none is no algorithm, however it is written`() async throws {
        let verifier = try await verifier()
        for name in ["none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "PS256", "ES384"] {
            let header = Base64URL.encode(JSONValue.object(["alg": .string(name)]).jsonBytes())
            let claims = Base64URL.encode(Self.claims.jsonBytes())
            for signature in ["", "AA"] {
                #expect(
                    refusal("\(header).\(claims).\(signature)", by: verifier)?.contains("algorithm") == true, "\(name)")
            }
        }
        let headerless = try keys.token(.hs256, claims: Self.claims, header: ["typ": "JWT"])
        #expect(refusal(headerless, by: verifier)?.contains("algorithm") == true)
    }

    @Test func `a public key is no secret`() async throws {
        let set = try keys.keySet()
        let candidates: [[UInt8]] = [
            Array(keys.rsaPublicPEM.utf8), Array((keys.rsaPublicPEM + "\n").utf8), set.jsonBytes(),
            Array((set["keys"]?.arrayValue?.first?["n"]?.stringValue ?? "").utf8),
        ]
        for verifier in [try await verifier(), try await verifier(secret: false)] {
            for candidate in candidates {
                for header in [["alg": "HS256"], ["alg": "HS256", "kid": "RS256"]] as [JSONValue] {
                    let token = try keys.token(.hs256, claims: Self.claims, header: header, secret: candidate)
                    #expect(refusal(token, by: verifier) != nil)
                }
            }
        }
        // Nor is a secret among public keys believed.
        let oct: JSONValue = ["keys": [["kty": "oct", "k": .string(Base64URL.encode(keys.secret)), "kid": "x"]]]
        await #expect(throws: WebTokenVerifier.KeyError.self) {
            try await WebTokenVerifier(secret: nil, keySet: oct.jsonText(), rules: Self.rules)
        }
    }

    @Test func `only what is set up is believed`() async throws {
        let secretOnly = try await verifier(keySet: false)
        let setOnly = try await verifier(secret: false)
        #expect(refusal(try keys.token(.hs256, claims: Self.claims), by: secretOnly) == nil)
        #expect(refusal(try keys.token(.hs256, claims: Self.claims), by: setOnly)?.contains("no key") == true)
        for kind in WebTokenKeys.Kind.allCases where kind != .hs256 {
            let token = try keys.token(kind, claims: Self.claims)
            #expect(refusal(token, by: secretOnly)?.contains("no key") == true)
            #expect(refusal(token, by: setOnly) == nil)
            let named = try keys.token(
                kind, claims: Self.claims, header: ["alg": .string(kind.rawValue), "kid": "another"])
            #expect(refusal(named, by: setOnly)?.contains("no key") == true)
            let unnamed = try keys.token(kind, claims: Self.claims, header: ["alg": .string(kind.rawValue)])
            #expect(refusal(unnamed, by: setOnly) == nil)
        }
    }

    @Test func `texts that are no token`() async throws {
        let verifier = try await verifier()
        let good = try keys.token(.hs256, claims: Self.claims)
        let parts = good.split(separator: ".").map(String.init)
        let twice = Base64URL.encode(Array("{\"alg\":\"HS256\",\"alg\":\"none\"}".utf8))
        for text in [
            "", ".", "..", "a.b.c", good + ".", "." + good, good + "=", good + "\n", "\(parts[0]).\(parts[1])",
            "\(parts[0])..\(parts[2])", "\(twice).\(parts[1]).\(parts[2])",
            String(repeating: "a", count: 9_000) + ".b.c",
            "\(Base64URL.encode(Array("[]".utf8))).\(parts[1]).\(parts[2])",
        ] { #expect(refusal(text, by: verifier) != nil, "\(text.prefix(80))") }
        let critical = try keys.token(.hs256, claims: Self.claims, header: ["alg": "HS256", "crit": ["exp"]])
        #expect(refusal(critical, by: verifier)?.contains("crit") == true)
        #expect(refusal(try keys.token(.hs256, claims: ["a"]), by: verifier) != nil)
    }

    @Test func `bad keys are refused with their reason`() async throws {
        func reason(_ secret: String?, _ set: String?) async -> String? {
            do throws(WebTokenVerifier.KeyError) {
                _ = try await WebTokenVerifier(secret: secret.map { Array($0.utf8) }, keySet: set, rules: Self.rules)
                return nil
            } catch {
                return error.description
            }
        }
        #expect(await reason("short", nil)?.contains("32 bytes") == true)
        #expect(await reason(nil, "{")?.contains("not JSON") == true)
        #expect(await reason(nil, "{}")?.contains("not a key set") == true)
        #expect(await reason(nil, "{\"keys\": []}")?.contains("no key") == true)
        let small = "{\"keys\": [{\"kty\": \"RSA\", \"n\": \"AQAB\", \"e\": \"AQAB\"}]}"
        #expect(await reason(nil, small)?.contains("2048 bits") == true)
        let broken = "{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": \"AA\", \"y\": \"AA\"}]}"
        #expect(await reason(nil, broken) != nil)
    }
}
