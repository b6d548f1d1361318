import OrchestryModel
import PostgresStore
import TestSupport
import Testing

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct SecretTests {
    private let password = SecretName(unchecked: "db-password")
    private func sealed(_ version: Int, key: String = "k1", name: SecretName? = nil) -> SealedSecret {
        SealedSecret(name: name ?? password, version: version, keyID: key, box: "box-\(version)-\(key)")
    }

    @Test func `the newest version is the secret, and numbers rise for ever`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: StateChange...) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        #expect(try await fixture.store.lastSecretVersion(password) == 0)
        try await write(.saveSecret(sealed(1), by: "ann", at: noon))
        try await write(
            .saveSecret(sealed(2), by: "bob", at: time(1_700_000_100)),
            .saveSecret(sealed(7, name: SecretName(unchecked: "api.key")), by: "ann", at: noon))
        #expect(
            try await fixture.store.secrets() == [
                SecretSummary(
                    sealed: sealed(7, name: SecretName(unchecked: "api.key")), createdAt: noon, updatedAt: noon,
                    updatedBy: "ann"),
                SecretSummary(sealed: sealed(2), createdAt: noon, updatedAt: time(1_700_000_100), updatedBy: "bob"),
            ])
        try await write(.saveSecret(sealed(2, key: "k2"), by: "bob", at: noon))
        #expect(try await fixture.store.secrets().last?.sealed.keyID == "k2")

        try await write(.removeSecret(password))
        #expect(try await fixture.store.secrets().map(\.name.rawValue) == ["api.key"])
        #expect(try await fixture.store.lastSecretVersion(password) == 2)
        #expect(
            try await fixture.sql("SELECT count(*) FROM secrets WHERE box LIKE 'box-_-k%' AND name = 'db-password'")
                == "0")
        try await write(.saveSecret(sealed(3), by: "cyd", at: time(1_700_000_200)))
        #expect(try await fixture.store.secrets().last?.createdAt == time(1_700_000_200))
    }

    @Test func `an app and its revisions keep the versions they use, old ones that nobody uses go`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: [StateChange]) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        var app = application()
        app.secrets = [sealed(1)]
        try await write([
            .saveSecret(sealed(1), by: "ann", at: noon), .saveApplication(app),
            .saveRevision(web, revision: 1, document: app.document, spec: app.spec, secrets: app.secrets, at: noon),
            .saveRevision(web, revision: 2, document: app.document, spec: app.spec, at: noon),
        ])
        #expect(try await fixture.store.application(web) == app)
        for version in 2...12 { try await write([.saveSecret(sealed(version), by: "ann", at: noon)]) }
        #expect(
            try await fixture.sql("SELECT string_agg(version::text, ',' ORDER BY version) FROM secrets")
                == "1,3,4,5,6,7,8,9,10,11,12")
        #expect(try await fixture.store.application(web) == app, "its version is kept")
        try await write([.pinSecrets(web, revision: 2, [sealed(12)])])
        #expect(try await fixture.store.revisions(of: web).map(\.secrets) == [[sealed(12)], [sealed(1)]])

        try await write([.removeSecret(password)])
        #expect(try await fixture.store.application(web)?.secrets == [])
    }

    @Test func `a writer that does not lead changes no secret`() async throws {
        let fixture = try await Fixture()
        let old = try await fixture.lead(alice)
        _ = try await fixture.lead(bob)
        let error = await failure { () throws(StoreError) in
            try await fixture.store.write([.saveSecret(sealed(1), by: "ann", at: noon)], epoch: old, leader: alice)
        }
        guard case .fenced = error else {
            Issue.record("not fenced: \(String(describing: error))")
            return
        }
        #expect(try await fixture.store.secrets().isEmpty)
    }

    @Test func `what was found out about an image is kept with the app and its revision`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        var app = application()
        app.imageReview = ImageReview(revision: 1, verdict: .accepted, digest: "sha256:abc")
        try await fixture.store.write(
            [
                .saveApplication(app),
                .saveRevision(
                    web, revision: 1, document: app.document, spec: app.spec, imageDigest: "sha256:abc", at: noon),
                .saveRevision(web, revision: 2, document: app.document, spec: app.spec, at: noon),
                .pinImage(web, revision: 2, digest: "sha256:def"),
            ], epoch: epoch, leader: alice)
        #expect(try await fixture.store.application(web) == app)
        #expect(try await fixture.store.revisions(of: web).map(\.imageDigest) == ["sha256:def", "sha256:abc"])
        app.imageReview = nil
        try await fixture.store.write([.saveApplication(app)], epoch: epoch, leader: alice)
        #expect(try await fixture.store.application(web) == app)
    }
}
