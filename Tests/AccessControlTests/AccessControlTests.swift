import AccessControl
import OrchestryModel
import Testing

struct TokenTextTests {
    @Test func `a token is 256 random bits with a prefix that scanners find`() {
        var random = SystemRandomNumberGenerator()
        let texts = (0..<200).map { _ in TokenText.generate(using: &random) }
        #expect(Set(texts).count == 200)
        for text in texts {
            #expect(text.wholeMatch(of: /orc_[A-Za-z0-9_\-]{43}/) != nil)
            #expect(TokenText.isWellFormed(text))
            #expect(!TokenText.isWellFormed(String(text.dropLast())) && !TokenText.isWellFormed(text + "A"))
        }
        // RFC 6234's test vector.
        #expect(TokenText.hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("\u{3FB}", "z7s"),
    ])
    func `base64url as RFC 4648 has it`(_ text: String, _ encoded: String) {
        #expect(Base64URL.encode(text.utf8) == encoded)
        #expect(Base64URL.decode(encoded) == Array(text.utf8))
    }

    @Test(arguments: ["Z", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm 8", "Zm8\n", "ZZZZZ"])
    func `one value has one text`(_ text: String) { #expect(Base64URL.decode(text) == nil) }
}

struct FailureThrottleTests {
    private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9)) }

    @Test func `a burst, then a lock-out that doubles`() {
        var throttle = FailureThrottle()
        for number in 1...10 { #expect(throttle.failed("a", at: at(0)) == nil, "\(number)") }
        #expect(throttle.failed("a", at: at(0)) == .seconds(30))
        #expect(throttle.lockLeft("a", at: at(10)) == .seconds(20))
        #expect(throttle.lockLeft("b", at: at(10)) == nil && throttle.lockLeft("a", at: at(30)) == nil)
        var locks: [Duration] = []
        var now = 30.0
        for _ in 0..<200 {
            if let lock = throttle.failed("a", at: at(now)) {
                locks.append(lock)
                now += lock.inSeconds
            }
        }
        #expect(
            locks.prefix(6) == [
                .seconds(60), .seconds(120), .seconds(240), .seconds(480), .seconds(900), .seconds(900),
            ])
    }

    @Test func `slow failures are forgiven, and long quiet makes a first lock-out of the next`() {
        var throttle = FailureThrottle()
        for number in 0..<1_000 { #expect(throttle.failed("a", at: at(Double(number) * 10)) == nil) }
        for _ in 0..<30 { _ = throttle.failed("a", at: at(10_000)) }
        #expect(throttle.lockLeft("a", at: at(10_000))! > .seconds(30))  // Locked out just now.
        for _ in 0..<10 { #expect(throttle.failed("a", at: at(20_000)) == nil) }
        #expect(throttle.failed("a", at: at(20_000)) == .seconds(30))
    }

    @Test func `memory is bounded, and who is locked out is forgotten last`() {
        var settings = FailureThrottle.Settings()
        settings.capacity = 50
        var throttle = FailureThrottle(settings)
        for _ in 0..<11 { _ = throttle.failed("locked", at: at(0)) }
        for number in 0..<10_000 {
            _ = throttle.failed("10.0.\(number / 256).\(number % 256)", at: at(Double(number) / 1e3))
        }
        #expect(throttle.count == 50)
        #expect(throttle.lockLeft("locked", at: at(11)) != nil)
    }

    @Test(
        arguments: [
            ("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:DB8:1:2::9", "2001:db8:1:2::/64"), ("2001:db8::9", "2001:db8:0:0::/64"), ("::1", "0:0:0:0::/64"),
            ("fe80::1%eth0", "fe80:0:0:0::/64"),
        ])
    func `a /64 is one address`(_ address: String, _ key: String) { #expect(FailureThrottle.key(of: address) == key) }
}

struct WebTokenRulesTests {
    private static let good: [String: JSONValue] = [
        "iss": "https://id.example", "aud": "orchestry", "sub": "ann", "role": "operator", "exp": 1_000,
    ]
    private let rules = WebTokenRules(issuer: "https://id.example", audience: "orchestry", leewaySeconds: 30)

    private func grant(_ changes: [String: JSONValue?], at seconds: Double = 500, _ rules: WebTokenRules? = nil) throws
        -> AccessGrant
    {
        var claims = Self.good
        for (key, value) in changes { claims[key] = value }
        return try (rules ?? self.rules).caller(claims: .object(claims), now: WallTime(seconds: seconds)).grant
    }

    @Test(
        arguments: [
            (["iss": "https://other.example"], "issuer"), (["iss": nil], "issuer"), (["aud": "other"], "audience"),
            (["aud": nil], "audience"), (["aud": ["a", "b"]], "audience"), (["aud": 5], "audience"),
            (["exp": nil], "never expires"), (["exp": "1000"], "not a number"), (["exp": 470], "has expired"),
            (["nbf": 531], "not valid yet"), (["iat": 531], "not valid yet"), (["nbf": "x"], "not a number"),
            (["sub": nil], "subject"), (["sub": ""], "subject"), (["sub": "a b"], "subject"),
            (["sub": "a\nb"], "subject"),
            (["sub": .string(String(repeating: "a", count: 201))], "subject"), (["role": nil], "no role"),
            (["role": "root"], "no role"), (["role": []], "no role"), (["role": 1], "no role"),
            (["apps": "web"], "not a list"), (["apps": ["Not An App"]], "not a list"), (["apps": [1]], "not a list"),
        ] as [([String: JSONValue?], String)])
    func `claims that are refused`(_ changes: [String: JSONValue?], _ words: String) {
        let error = #expect(throws: WebTokenRules.Refusal.self) { try grant(changes) }
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }

    @Test func `claims that are believed`() throws {
        #expect(try grant([:]) == AccessGrant(role: .operator))
        #expect(try grant(["aud": ["a", "orchestry"]]).role == .operator)
        // The leeway, both ways.
        #expect(try grant(["exp": 471]).role == .operator)
        #expect(try grant(["nbf": 530, "iat": 530]).role == .operator)
        #expect(try grant(["role": ["x", "viewer", "admin"]]).role == .admin)
        #expect(try grant(["apps": ["web", "api", "web"]]).apps?.map(\.rawValue) == ["api", "web"])
        #expect(try grant(["apps": []]).apps == [])
        var nested = rules
        nested.roleClaim = "realm_access.roles"
        #expect(try grant(["role": nil, "realm_access": ["roles": ["viewer"]]], nested).role == .viewer)
        nested.roleClaim = "https://example.com/role"
        #expect(try grant(["https://example.com/role": "admin"], nested).role == .admin)
    }
}

struct AuditChainTests {
    private func chain(_ count: Int) -> [AuditEntry] {
        var entries: [AuditEntry] = []
        var head = AuditHead.origin
        for number in 1...count {
            let record = "{\"operation\":\"scale\",\"n\":\(number)}"
            let hash = AuditChain.hash(sequence: Int64(number), previous: head.hash, record: record)
            head = AuditHead(sequence: Int64(number), hash: hash)
            entries.append(AuditEntry(sequence: Int64(number), record: record, hash: hash))
        }
        return entries
    }
    private func findings(_ entries: [AuditEntry], recorded: AuditHead, expected: AuditHead? = nil) -> [Int64] {
        var chain = AuditChain(expected: expected)
        chain.add(Array(entries.prefix(3)))
        chain.add(Array(entries.dropFirst(3)))
        chain.end(recorded: recorded)
        return chain.findings.map(\.sequence)
    }

    @Test func `what was touched is found, and where`() throws {
        let good = chain(9)
        let head = AuditHead(sequence: 9, hash: good[8].hash)
        #expect(findings(good, recorded: head) == [])
        #expect(findings(good, recorded: head, expected: AuditHead("4:\(good[3].hash)")) == [])
        var changed = good
        changed[4].record += " "
        #expect(findings(changed, recorded: head) == [5])
        // Changed with its own hash made to fit: the next one gives it away.
        changed[4].hash = AuditChain.hash(sequence: 5, previous: good[3].hash, record: changed[4].record)
        #expect(findings(changed, recorded: head) == [6])
        var removed = good
        removed.remove(at: 4)
        #expect(findings(removed, recorded: head) == [5])
        removed = Array(good.dropLast(2))
        #expect(findings(removed, recorded: head) == [8])
        var inserted = good
        inserted.insert(AuditEntry(sequence: 5, record: "{}", hash: String(repeating: "0", count: 64)), at: 4)
        #expect(findings(inserted, recorded: head).contains(5))
        // All of it made anew, and the head on record too: only a head kept elsewhere tells.
        var forged = chain(9).map(\.record)
        forged[2] = "{}"
        var last = AuditHead.origin
        let anew = forged.enumerated().map { index, record in
            last = AuditHead(
                sequence: Int64(index + 1),
                hash: AuditChain.hash(sequence: Int64(index + 1), previous: last.hash, record: record))
            return AuditEntry(sequence: last.sequence, record: record, hash: last.hash)
        }
        #expect(findings(anew, recorded: last) == [])
        #expect(findings(anew, recorded: last, expected: AuditHead(head.description)) == [9])
        #expect(findings(good, recorded: head, expected: AuditHead(sequence: 12, hash: head.hash)) == [10])
    }

    @Test(arguments: ["", "1", "1:", "x:\(AuditHead.origin.hash)", "-1:\(AuditHead.origin.hash)", "1:abc"])
    func `a head that is none`(_ text: String) { #expect(AuditHead(text) == nil) }
}

struct DocumentDifferenceTests {
    @Test func `fields that changed, with what hides`() {
        let old: JSONValue = [
            "image": "shop:1", "replicas": 2, "ports": [["containerPort": 80]],
            "environment": [["name": "LEVEL", "value": "info"], ["name": "DB_PASSWORD", "value": "hunter2"]],
            "args": ["--port=1"],
        ]
        let new: JSONValue = [
            "image": "shop:2", "ports": [["containerPort": 81]], "labels": ["a": "b"],
            "environment": [
                ["name": "DB_PASSWORD", "value": "hunter3"], ["name": "LEVEL", "value": "debug"],
                ["name": "URL", "value": "postgres://u:hunter4@db/x"],
            ], "args": ["--token=hunter5"], "text": .string(String(repeating: "x", count: 10_000)),
        ]
        let changes = DocumentDifference.between(old, new)
        let shown = JSONValue.array(changes.map(\.json)).jsonText()
        #expect(!shown.contains("hunter"), "\(shown)")
        #expect(shown.utf8.count < 3_000)
        #expect(
            changes.map(\.field) == [
                "args", "environment.DB_PASSWORD.value", "environment.LEVEL.value", "environment.URL.name",
                "environment.URL.value", "image", "labels.a", "ports[0].containerPort", "replicas", "text",
            ])
        #expect(
            changes.first { $0.field == "environment.LEVEL.value" }?.json == [
                "field": "environment.LEVEL.value", "old": "info", "new": "debug",
            ])
        #expect(changes.first { $0.field == "replicas" }?.json == ["field": "replicas", "old": 2])
        #expect(DocumentDifference.between(old, old).isEmpty)
        #expect(DocumentDifference.between(.null, old).contains { $0.field == "image" && $0.old == nil })
    }

    @Test func `no more than fits`() {
        let many = JSONValue.object(Dictionary(uniqueKeysWithValues: (0..<500).map { ("f\($0)", JSONValue($0)) }))
        let changes = DocumentDifference.between([:], many)
        #expect(changes.count == 101 && changes.last?.field == "(400 more fields)")
    }
}

struct RefusalLogTests {
    private func record(_ actor: String, _ status: Int = 403) -> AuditRecord {
        AuditRecord(
            time: WallTime(seconds: 0), actor: actor, address: nil, node: nil, operation: "scale", outcome: .refused,
            status: status)
    }
    private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9)) }

    @Test func `the first at once, the rest counted, none lost`() {
        var log = RefusalLog()
        var told = 0
        var entries = 0
        for number in 0..<10_000 {
            for entry in log.refused(record("ann"), at: at(Double(number) / 100)) {
                entries += 1
                told += 1 + entry.repeats
            }
        }
        for entry in log.takeDue(at: at(1_000), all: true) {
            entries += 1
            told += 1 + entry.repeats
        }
        #expect(told == 10_000)
        #expect(entries <= 22, "\(entries)")
        #expect(log.refused(record("bob"), at: at(1_001)).count == 1)
        #expect(log.refused(record("bob", 422), at: at(1_001)).count == 1)
        #expect(log.takeDue(at: at(2_000)).isEmpty)
    }

    @Test func `callers beyond number are one`() {
        var log = RefusalLog()
        var told = 0
        var entries = 0
        for number in 0..<5_000 {
            for entry in log.refused(record("a\(number)"), at: at(1)) { entries += 1; told += 1 + entry.repeats }
        }
        for entry in log.takeDue(at: at(1), all: true) { entries += 1; told += 1 + entry.repeats }
        #expect(told == 5_000 && entries <= RefusalLog.capacity + 2)
    }
}
