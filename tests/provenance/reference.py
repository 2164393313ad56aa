"""What TAIBOM's rules answer, worked out the slow way: plain lists of facts, every combination tried.

It follows the facts' layout and the rules' meaning, not theriac's code. A credential becomes a fact; a missing optional
field is a variable and so equal to everything; a missing field inside a field makes another term, which the rules do
not know. Where several facts fit, all are solutions.
"""

from typing import NamedTuple


class _Variable:
    """An unbound variable: equal to everything."""

    def __eq__(self, other):
        return True

    __hash__ = None


VARIABLE = _Variable()


class Term(NamedTuple):
    """``data(Hash, Id)``, ``component(Hash, Id)`` …"""

    hash: object
    id: object


class Reference:
    """The facts of these documents, and the answers of the sixteen predicates."""

    def __init__(self, documents):
        self.systems, self.configs, self.data, self.packs, self.codes, self.identities = [], [], [], [], [], []
        self.claims = []
        for document in documents:
            self._read(document)

    def _read(self, document):
        id, subject = document["id"], document["credentialSubject"]
        if "attestation" in subject:
            kind = document["credentialSchema"]["id"].rpartition("/")[2].partition(".")[0].partition("-")[2]
            self.claims.append((kind, subject["attestation"], _term(subject["component"])))
        elif "aiSystem" in subject:
            self.configs.append((id, _term(subject["aiSystem"]), _term(subject["data"])))
        elif "datasets" in subject:
            self.packs.append((id, [_term(item) for item in subject["datasets"]]))
        elif "code" in subject:
            self.systems.append((id, _term(subject["code"]), _term(subject["data"]), subject["label"]))
        elif "lastAccessed" in subject or "label" in subject:
            self.data.append((id, subject.get("hash", VARIABLE), subject["label"]))
        elif "email" in subject:
            self.identities.append((subject["uuid"], subject["email"]))
        elif "location" in subject:
            sbom = _term(subject["sbom"]) if "sbom" in subject else Term(VARIABLE, VARIABLE)
            self.codes.append((id, subject["hash"].get("value"), sbom))

    def data_in_weights(self, wanted):
        """Yields the lists of data ids behind these weights, one list for each way."""
        for weights, _, label in self.data:
            if weights != wanted or label != "Weights":
                continue
            for _, training, made in self.configs:
                if made is None or made.id != weights or training is None:
                    continue
                for system, _, pack, _ in self.systems:
                    if system != training.id or pack is None:
                        continue
                    for id, datasets in self.packs:
                        if id == pack.id:
                            yield [item.id for item in datasets if item is not None]

    def data_in_system(self, wanted):
        """Yields the lists of data ids behind an inferencing system."""
        for system, _, config, label in self.systems:
            if system != wanted or label != "Inferencing" or config is None:
                continue
            for id, _, made in self.configs:
                if id == config.id and made is not None:
                    for weights, _, kind in self.data:
                        if weights == made.id and kind == "Weights":
                            yield from self.data_in_weights(weights)

    def code_of(self, wanted):
        """Yields the code facts of a system of any label."""
        for system, named, _, _ in self.systems:
            if system == wanted and named is not None:
                yield from (code for code in self.codes if code[0] == named.id)

    def configs_of(self, wanted):
        """Yields the config facts that a system of any label names."""
        for system, _, named, _ in self.systems:
            if system == wanted and named is not None:
                yield from (config for config in self.configs if config[0] == named.id)

    def training_code_of(self, wanted):
        """Yields the code facts of the training systems in the configs that a system names."""
        for _, training, _ in self.configs_of(wanted):
            if training is not None:
                yield from self.code_of(training.id)

    def claims_about(self, kind, component, type=None):
        """Yields (component's id, its hash, the claim) for the claims of a kind; of the exact type, if one is given."""
        for found, claim, about in self.claims:
            right = found == f"{kind}-attestation" and type in (None, claim["type"])
            if right and about is not None and about.id == component:
                yield about.id, about.hash, claim

    def claims_in_data(self, system, type):
        """Returns the claims of a type about a system's data."""
        return [
            found for ids in self.data_in_system(system) for id in ids for found in self.claims_about(type, id, type)
        ]

    def provider_answers(self, system):
        """Yields the providers of data as the rule does: an answer for each attestation instead of one for all."""
        for ids in self.data_in_system(system):
            for id in ids:
                for _, _, claim in self.claims_about("provided", id):
                    for uuid, email in self.identities:
                        if uuid == claim["provider"]["uuid"]:
                            yield email

    def ask(self, query, system, arguments):
        """Returns the ids, the claims, or whether the predicate has a solution."""
        return getattr(self, query.replace("-", "_"))(system, arguments)

    def data_in_system_ids(self, system):
        return {id for ids in self.data_in_system(system) for id in ids}

    def data_poisoning(self, system, arguments):
        return self.claims_in_data(system, "poisoning")

    def data_pollution(self, system, arguments):
        return self.claims_in_data(system, "pollution")

    def data_bias(self, system, arguments):
        return self.claims_in_data(system, "bias")

    def providers_trusted_whitelist(self, system, arguments):
        return any(email in arguments for email in self.provider_answers(system))

    def providers_trusted_blacklist(self, system, arguments):
        return any(email not in arguments for email in self.provider_answers(system))

    def code_hash_matches(self, system, arguments):
        return any(hash == arguments[0] for _, hash, _ in self.code_of(system))

    def sbom_hash_matches(self, system, arguments):
        return any(sbom is not None and sbom.hash == arguments[0] for _, _, sbom in self.code_of(system))

    def weights_hash_matches(self, system, arguments):
        return any(
            made is not None and id == made.id and hash == arguments[0]
            for _, _, made in self.configs_of(system)
            for id, hash, _ in self.data
        )

    def training_data_matches(self, system, arguments):
        ids = self.data_in_system_ids(system)
        hashes = [hash for id, hash, _ in self.data if id in ids]
        return bool(hashes) and all(isinstance(hash, str) for hash in hashes) and {*hashes} == {*arguments}

    def training_code_hash_matches(self, system, arguments):
        return any(True for _ in self.training_code_of(system))  # the argument is compared with an unbound variable

    def training_sbom_hash_matches(self, system, arguments):
        return any(sbom is not None and sbom.hash == arguments[0] for _, _, sbom in self.training_code_of(system))

    def inference_vulnerabilities(self, system, arguments):
        return self._vulnerabilities(self.code_of(system))

    def training_vulnerabilities(self, system, arguments):
        return self._vulnerabilities(self.training_code_of(system))

    def _vulnerabilities(self, codes):
        boms = [sbom.id for _, _, sbom in codes if sbom is not None]
        return [found for bom in boms for found in self.claims_about("vulnerability", bom)]

    def best_practice(self, system, arguments):
        return list(self.claims_about("best-practice", VARIABLE))  # the training system's id is unbound

    def functional_performance(self, system, arguments):
        return list(self.claims_about("functional-performance", system))


def _term(item):
    return Term(item["hash"], item["id"]) if "hash" in item else None
