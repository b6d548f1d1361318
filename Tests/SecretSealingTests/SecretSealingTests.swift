import Foundation
import OrchestryModel
import SecretSealing
import Testing

struct SecretSealingTests {
    private let cluster = ClusterID(unchecked: "prod")
    private let name = SecretName(unchecked: "db-password")

    private func keys(_ lines: [String], cluster: String = "prod") throws -> SecretKeys {
        try SecretKeys(text: lines.joined(separator: "\n"), cluster: ClusterID(unchecked: cluster))
    }

    @Test(arguments: ["x", "pässwörd \u{1F600}", String(repeating: "k", count: SealedSecret.maximumValueBytes)])
    func `what was sealed opens, and its form says nothing of it`(_ value: String) throws {
        let keys = try keys([SecretKeys.generateLine()])
        let sealed = keys.seal(value, name: name, version: 3)
        #expect(try keys.open(sealed) == value)
        #expect(sealed.keyID == keys.sealingKeyID && sealed.keyID.count == 16)
        let bytes = try #require(Data(base64Encoded: sealed.box))
        #expect(bytes.range(of: Data(value.utf8)) == nil || value.utf8.count < 3)
        #expect(keys.seal(value, name: name, version: 3).box != sealed.box, "the nonce is never the same")
    }

    @Test func `it opens only for its cluster, name and version, and unchanged`() throws {
        let line = SecretKeys.generateLine()
        let keys = try keys([line])
        let sealed = keys.seal("value", name: name, version: 3)
        var changes: [SealedSecret] = [sealed, sealed, sealed, sealed]
        changes[0].name = SecretName(unchecked: "other")
        changes[1].version = 2
        var bytes = try #require(Data(base64Encoded: sealed.box))
        bytes[14] ^= 1
        changes[2].box = bytes.base64EncodedString()
        changes[3].box = "not base64"
        for changed in changes {
            #expect(throws: SecretSealingError.damaged(changed.name), "\(changed)") { try keys.open(changed) }
        }
        let elsewhere = try self.keys([line], cluster: "staging")
        #expect(throws: SecretSealingError.damaged(name)) { try elsewhere.open(sealed) }
    }

    @Test func `the first key seals, all of them open`() throws {
        let (old, new) = (SecretKeys.generateLine(), SecretKeys.generateLine())
        let before = try keys([old])
        let sealed = before.seal("value", name: name, version: 1)
        let both = try keys(["# two keys", "", new, "  \(old)  "])
        #expect(try both.open(sealed) == "value")
        #expect(both.sealingKeyID != before.sealingKeyID)
        let after = try keys([new])
        #expect(throws: SecretSealingError.unknownKey(name, keyID: before.sealingKeyID)) { try after.open(sealed) }
        #expect(try after.open(both.seal("value", name: name, version: 2)) == "value")
    }

    @Test func `a value's fingerprint is the same for each sealing, another for another value, name, cluster or key`()
        throws
    {
        let (old, new) = (SecretKeys.generateLine(), SecretKeys.generateLine())
        let (before, after) = (try keys([old, new]), try keys([new, old]))
        let elsewhere = try keys([old], cluster: "staging")
        let first = try before.fingerprint(of: before.seal("value", name: name, version: 0))
        #expect(first.keyID == before.sealingKeyID && first.digest.count == 64)
        // Sealed by a node that has another key on top already, and compared by one too.
        let again = try after.fingerprint(of: after.seal("value", name: name, version: 3), under: first.keyID)
        #expect(again == first)
        let others = try [
            before.fingerprint(of: before.seal("value ", name: name, version: 0)),
            before.fingerprint(of: before.seal("value", name: SecretName(unchecked: "other"), version: 0)),
            after.fingerprint(of: after.seal("value", name: name, version: 0)),
            elsewhere.fingerprint(of: elsewhere.seal("value", name: name, version: 0)),
        ].map(\.digest)
        #expect(Set(others + [first.digest]).count == 5, "\(others)")
        let lone = try keys([new])
        #expect(throws: SecretSealingError.unknownKey(name, keyID: before.sealingKeyID)) {
            try lone.fingerprint(of: lone.seal("value", name: name, version: 0), under: before.sealingKeyID)
        }
    }

    @Test(arguments: [
        ("", "it holds no key"), ("# only words", "it holds no key"), ("c2hvcnQ=", "line 1 is not base64 of 32 bytes"),
        ("\nnonsense!", "line 2 is not base64"),
    ])
    func `a key file that is none is refused by line, without its content`(_ text: String, _ words: String) {
        let error = #expect(throws: SecretSealingError.self) { try SecretKeys(text: text, cluster: cluster) }
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
        #expect(error?.description.contains("nonsense") == false)
    }

    @Test func `a file is made for its owner alone, gets further keys below, and is refused when others read it`()
        throws
    {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("keys-\(UUID())").path
        // A left-over in the temporary folder harms nobody.
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(try SecretKeyFile.addKey(to: path))
        let first = try SecretKeyFile.load(path, cluster: cluster)
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        #expect(try !SecretKeyFile.addKey(to: path))
        let second = try SecretKeyFile.load(path, cluster: cluster)
        #expect(second.sealingKeyID == first.sealingKeyID)
        #expect(try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").count == 2)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        let error = #expect(throws: SecretSealingError.self) { try SecretKeyFile.load(path, cluster: cluster) }
        #expect(error?.description.contains("chmod 600") == true)
        let missing = #expect(throws: SecretSealingError.self) {
            try SecretKeyFile.load(path + "-no", cluster: cluster)
        }
        #expect(missing?.description.contains("can't be read") == true)
    }
}
