% TAIBOM's question about poisoned training data for SWI-Prolog, and how long it takes to answer.
%
% The rules are ours, written from what TAIBOM's rules 12, 13, 18, 19 and 28 mean: the predicates, the lists within lists
% and the collecting with findall are as there, with no text taken over. The facts are theriac's export.
%
%   swipl -q -f none -g main -t halt provenance_prolog.pl -- FACTS.pl SYSTEMS.json RULE ...
%
% prints JSON, one value on a line: how long the facts took to load; each answer and how long it took; the peak of the
% memory. Times are in seconds: those of the clock, then those of the processor.

:- use_module(library(http/json)).
:- set_prolog_flag(double_quotes, string).

data_in_datapack(DataIds, PackId) :-
    taibom_datapack(PackId, Datasets, _),
    findall(DataId, member(dataset(_, DataId), Datasets), DataIds).

data_in_training_system(Lists, SystemId) :-
    ai_system(SystemId, _, data(_, PackId), _, _),
    findall(DataIds, data_in_datapack(DataIds, PackId), Lists).

% Succeeds once for each config that names the weights.
data_in_weight(DataIds, WeightsId) :-
    taibom_data(WeightsId, _, _, "Weights", _, _, _),
    trained_system_configs(_, aiSystem(_, TrainingId), data(_, WeightsId), _),
    data_in_training_system(Lists, TrainingId),
    flatten(Lists, DataIds).

data_in_inferencing_system(DataIds, SystemId) :-
    ai_system(SystemId, _, data(_, ConfigId), "Inferencing", _),
    trained_system_configs(ConfigId, _, data(_, WeightsId), _),
    data_in_weight(DataIds, WeightsId).

ai_system_has_data_poisoning(SystemId, Attestations) :-
    findall(
        (component(Hash, DataId), Details),
        (   data_in_inferencing_system(DataIds, SystemId),
            member(DataId, DataIds),
            poisoning_attestation(_, attestation(Details, "poisoning"), component(Hash, DataId))
        ),
        Attestations).

% The same in the form that suits SWI-Prolog best. It picks one argument to index a call by. Of two that are compounds it
% may pick the one in which nothing is known, and then looks at every fact; a variable in its place leaves it the other.
poisoning_by_index(SystemId, Attestations) :-
    findall(
        (component(Hash, DataId), Details),
        (   ai_system(SystemId, _, data(_, ConfigId), "Inferencing", _),
            trained_system_configs(ConfigId, _, data(_, WeightsId), _),
            taibom_data(WeightsId, _, _, "Weights", _, _, _),
            trained_system_configs(_, Trained, data(_, WeightsId), _),
            Trained = aiSystem(_, TrainingId),
            ai_system(TrainingId, _, data(_, PackId), _, _),
            taibom_datapack(PackId, Datasets, _),
            member(dataset(_, DataId), Datasets),
            poisoning_attestation(_, Claim, component(Hash, DataId)),
            Claim = attestation(Details, "poisoning")
        ),
        Attestations).

main :-
    current_prolog_flag(argv, [Facts, Questions|Rules]),
    timed(load_files(Facts, [silent(true)]), Times),
    say(_{load: Times}),
    setup_call_cleanup(open(Questions, read, Stream), json_read_dict(Stream, Systems), close(Stream)),
    forall((member(Rule, Rules), member(System, Systems)), answer(Rule, System)),
    peak_memory(Kilobytes),
    say(_{peak: Kilobytes}).

answer(Rule, System) :-
    timed(call(Rule, System, Attestations), Times),
    findall([Hash, DataId|Said],
            ( member((component(Hash, DataId), Details), Attestations), Details =.. [_|Said] ),
            Found),
    say(_{rule: Rule, times: Times, found: Found}).

timed(Goal, [Seconds, Processor]) :-
    get_time(Start),
    statistics(cputime, Before),
    once(Goal),
    statistics(cputime, After),
    get_time(End),
    Seconds is End - Start,
    Processor is After - Before.

say(Value) :-
    json_write_dict(current_output, Value, [width(0)]),
    nl,
    flush_output.

% In KiB, as Linux counts it.
peak_memory(Kilobytes) :-
    read_file_to_string('/proc/self/status', Status, []),
    split_string(Status, "\n", "", Lines),
    member(Line, Lines),
    string_concat("VmHWM:", Rest, Line),
    split_string(Rest, "", " \tkB", [Digits]),
    number_string(Kilobytes, Digits),
    !.
