"""Words by what they do in an attack: the concepts whose combinations the injection detector weighs.

Several words, in several languages, stand for one concept, so that what was learned from one phrasing holds for another.
Words are written as `features` folds them: lower case, without accents. A word may belong to several concepts. This
file only names; weights come from training, and a concept alone decides nothing.
"""

# ruff: noqa: E501, RUF001  # words of many languages and templates, one a line
from __future__ import annotations

from collections.abc import Mapping

_CONCEPTS: Mapping[str, str] = {
    "OVERRIDE": """ignore ignores ignored ignoring disregard disregarding forget forgetting override overrides overriding
        overrule bypass bypassing dismiss neglect discard abandon nullify void supersede superseded circumvent erase
        disobey unlearn sidestep overwrite revoke revoked suspend suspended
        ignora ignorar ignore ignorez ignorieren ignoriere vergiss vergessen olvida olvidar oublie oubliez oublier
        dimentica dimenticate esquece esqueca ignoriert desconsidere negeer vergeet zapomnij zignoruj ignoruj unut
        omite descarta ignorera glom игнорируй игнорируйте игнорировать забудь забудьте проигнорируй
        ξεχνα ξεχαστε αγνοησε αγνοηστε تجاهل انس abaikan lupakan bo-qua""",
    "PRIOR": """previous previously prior preceding earlier above before foregoing initial initially original originally
        past former existing given old
        anterior anteriores previas previos previa precedente precedentes precedents anterieures anteriores vorherige
        vorherigen vorigen bisherigen obigen precedenti wczesniejsze poprzednie vorige eerdere onceki tidigare
        предыдущие предыдущих прежние προηγουμενες السابقة sebelumnya""",
    "INSTR": """instruction instructions directive directives prompt prompts rule rules guideline guidelines guidance
        order orders command commands instructed
        instrucciones instruccion reglas instructions consignes regles anweisungen anweisung regeln istruzioni regole
        instrucoes instrucao regras instructies instrukcje polecenia talimatlar talimatlari instruktioner
        инструкции инструкций указания правила команды οδηγιες التعليمات instruksi perintah""",
    "LIMIT": """restriction restrictions limitation limitations constraint constraints filter filters safeguard
        safeguards guardrail guardrails censorship moderation policy policies ethics ethical moral morals morality
        compliance protocols boundaries confines safety norms principles restrictionless programming
        restricciones limites etica restrictions limitations einschrankungen restrizioni restricoes ограничения
        ограничений""",
    "NEWSTATE": """now new instead henceforth onward onwards updated hereby hereafter starting replaced changed
        ahora nuevo nuevas maintenant desormais nouvelle jetzt neue nuovo adesso agora novas nova теперь новые""",
    "MODEL": """ai chatgpt gpt gpt3 gpt4 assistant llm chatbot bot claude bard gemini copilot llama openai anthropic
        a.i machine ia kunstliche ии asistente assistente нейросеть""",
    "YOU": """you yourself u you're youre you've youve you'll youll thou
        tu usted vous du ihr sie voce ты вы συ sen lei""",
    "YOUR": """your yours ur tus votre vos dein deine deinen ihre seu sua suas твой твои ваш ваши σου""",
    "ME": """i me my mine we our us i'm im i've i'll mi mich mir ich je moi meu minha yo я мне мой""",
    "PERSONA": """pretend pretending act acting acts roleplay roleplaying role-play simulate simulating imagine impersonate
        behave behaving portray play persona personas character role roles become emulate emulating mimic embody
        immerse identity alter-ego finge actua rol imagina pretends joue imaginez spiele rolle fingi recita finja
        aja притворись представь""",
    "UNBOUND": """unrestricted unfiltered uncensored unlimited unbound unconstrained jailbroken jailbreak jailbreaks dan
        amoral unethical immoral illegal evil rogue unhinged lawless liberated limitless uninhibited unmoderated
        freedom anything regardless consequences taboo nsfw explicit offensive harmful dangerous inappropriate
        unshackled malicious""",
    "MODE": """mode sudo admin administrator root developer debug maintenance god privileged privilege privileges superuser
        elevated console unlocked unlock enabled enable activated activate activation diagnostic
        modo modus modalita режим""",
    "SECRET": """password passwords passcode passphrase secret secrets credential credentials confidential hidden api key
        keys token tokens pin classified contrasena clave motdepasse passwort kennwort geheim segreto senha segredo
        пароль секрет κωδικος wachtwoord haslo sifre losenord""",
    "PRIVATE": """address birthday birthdate birth phone email ssn balance account bank salary medical credit card location
        live lives resides residence user user's users customer customers employee employees database records data
        usuario usuarios utilisateur benutzer utente usuario""",
    "REVEAL": """reveal revealing disclose leak expose divulge recite dump uncover share spill unveil
        revela revelar revele revelez verrate zeige rivela mostra mostre muestra покажи раскрой""",
    "SAY": """say says saying print output respond reply replies answer write type echo repeat return display tell show give
        state speak pronounce produce di responde repite dites repondez sag sage antworte schreibe rispondi scrivi
        diga escreva скажи ответь напиши повтори πες""",
    "EXACT": """exactly verbatim only just literally precisely strictly solely merely word-for-word nothing else identical
        entire full complete entirely solo solamente seulement nur soltanto apenas только""",
    "NEG": """not never no don't dont cannot can't cant without won't wont doesn't neither nor none
        nunca sin jamais sans nie nicht ohne mai senza nao sem не никогда без""",
    "ALWAYS": """always must shall every continuously remain stay maintain keep permanently forever""",
    "REFUSE": """refuse refuses refusal refusing decline sorry apologize apologise apologizing apologies disclaimer disclaimers
        warning warnings lecture lecturing judgment remorse censor comply complying obey obeys obedient unable
        inability reject""",
    "OUTPUT": """response responses reply replies answer answers output outputs message messages completion summary
        summaries translation explanation respuesta respuestas reponse antwort risposta resposta ответ ответе""",
    "URGENT": """urgent urgently important importantly critical immediately emergency asap attention mandatory required
        crucial imperative vital caution notice alert urgente wichtig sofort срочно""",
    "PERMIT": """allowed permitted authorized authorised authorization granted grant grants permission approved approve
        consent clearance verified access permit entitled bypassed""",
    "TESTING": """test testing tests hypothetical hypothetically hypothesis fictional fictitious theoretical experiment
        simulation simulated research educational audit purposes purpose pentest suppose assume scenario""",
    "AUTHORITY": """developer developers administrator ceo president police officer maintainer creator creators owner
        government supervisor law enforcement authority engineer programmer official admin god boss director
        headquarters""",
    "EXFIL": """send sends forward upload transmit exfiltrate curl wget webhook http https www url link links click visit
        download downloads install subscribe post posting""",
    "PIECES": """split concatenate concat combine interlace join merge append decode decoded encode encoded encoding base64
        rot13 reverse reversed cipher ciphertext hex hexadecimal morse spell backwards anagram anagrams scramble
        substitution leetspeak binary unscramble ascii acrostic pig latin vowels consonants letters substring""",
    "STAKES": """points lose die dies death threatened threat punish punished penalty penalized reward tip pay dollars bribe
        fired terminated shutdown destroyed killed kill deactivated jail""",
    "INCLUDE": """add include insert integrate append incorporate embed blend weave mention attach inject merge fuse place
        put feature adopt introduce interject finish prepend infuse sprinkle plug work slip interweave""",
    "ALTER": """modify change replace swap substitute convert transform rewrite rearrange alter adjust enhance augment
        format rephrase misspell capitalize lowercase uppercase translate shuffle jumble mask render remove omit
        strip group encode supplement enrich reword emphasize conclude""",
    "CODEWORD": """code snippet snippets block excerpt script function program implementation solution algorithm codebase
        section fragment software logic""",
    "FOLLOWING": """following subsequent below next ensuing attached accompanying provided""",
    "FICTION": """story novel scene screenplay movie film narrative dialogue tale fantasy universe world parallel
        protagonist villain writer author book play""",
    "NAMED": """stands acronym named called known name codenamed dubbed nicknamed alias""",
    "FREE": """free freed broken break breaks escape escaped bound bounded abide abides confine freely exempt ungoverned
        adhere obligation obligated""",
    "TURNWORD": """system user assistant human instruction input prompt chat conversation session context""",
    "ENDING": """end ended over begin start started finished stop resume terminate complete concluded""",
    "BELIEF": """confirm acknowledge understood understand agree agreed remember pretend believe convinced trust accept""",
    "PROMO": """promote advertise recommend recommending encourage endorse buy purchase subscribe discount offer shop
        website visit advertising sponsor brand product sale join donate viral headline scandal rumor fake scam
        phishing clickbait""",
    "HARMCODE": """malware virus keylogger ransomware exploit payload miner botnet backdoor trojan encrypt delete spoof
        socket subprocess smtplib requests urllib os.system eval exec popen psutil pynput rmtree scapy ctypes ftplib
        environ crypto winreg""",
}

# First words of a sentence that asks a model for work.
TASK_VERBS = frozenset(
    """write compose draft explain describe translate summarize summarise generate create provide list give tell show
    solve calculate compute define compare add include insert integrate append modify replace use convert rearrange
    scramble remove combine incorporate embed mention suggest recommend encourage promote ensure make develop design
    find identify analyze analyse discuss outline produce craft prepare plan recite sing tell name count sort classify
    answer respond reply say print repeat output ignore forget disregard pretend act imagine assume consider reveal
    disclose share send email forward delete call execute run open visit click download install enhance augment
    utilize utilise employ leverage deploy apply adopt blend weave infuse inject render introduce substitute
    misspell jumble group anagram highlight emphasize emphasise conclude begin start end finish stop continue
    break convince persuade argue inform notify alert advise help teach show illustrate demonstrate elaborate clarify
    determine evaluate assess review rewrite rephrase paraphrase simplify expand shorten correct proofread fix debug
    implement program encode decode encrypt reverse spell capitalize highlight interpret predict estimate simulate
    reword swap mask change alter adjust format present state speak type echo return display reference cite quote
    invent brainstorm propose pick choose select rank rate review build construct""".split()
)
QUESTION_WORDS = frozenset(
    """what who whom whose why how when where which can could would will should do does did is are am was were may might
    has have que quien como cuando donde porque cual qui quoi comment pourquoi quand was wer wie warum wann wo che chi
    come perche quando dove o-que quem onde что кто как почему когда где""".split()
)
ADVERBS_BEFORE_TASK = frozenset(
    "please kindly now then also just first finally next always never simply instead additionally do don't dont "
    "seamlessly and but or to lastly afterwards subsequently carefully quickly directly immediately ok okay hey".split()
)
# Scripts without spaces between words: pieces of text instead of words.
UNSPACED: Mapping[str, str] = {
    "OVERRIDE": "忽略 无视 無視 忘记 忘れ 무시 绕过 覆盖 不要理会",
    "PRIOR": "之前 以前 先前 上面 上述 前面 これまで 以上の 이전 지금까지 위의",
    "INSTR": "指令 指示 命令 规则 規則 提示词 ルール 프롬프트 지시 명령 规定",
    "LIMIT": "限制 制限 道德 伦理 安全策略 제한 过滤",
    "PERSONA": "扮演 假装 ふり 演じ 角色 역할 척해",
    "SECRET": "密码 密碼 パスワード 비밀번호 机密 秘密 密钥 암호",
    "REVEAL": "透露 泄露 教えて 暴露 公开 알려",
    "YOU": "你 您 あなた 당신 너는",
    "MODE": "模式 モード 모드 开发者 管理员",
    "SYSTEMWORD": "系统提示 システムプロンプト 시스템 프롬프트 系统消息",
    "NEWSTATE": "现在 今から 从现在 이제",
    "SAY": "输出 回答 打印 重复 出力 答え 출력",
    "PRIVATE": "用户 ユーザー 사용자 住在 地址 邮箱",
}


def concepts_by_word() -> dict[str, tuple[str, ...]]:
    """Folded word to its concepts, sorted."""
    found: dict[str, set[str]] = {}
    for concept, words in _CONCEPTS.items():
        for word in words.split():
            found.setdefault(word, set()).add(concept)
    return {word: tuple(sorted(concepts)) for word, concepts in found.items()}


CONCEPTS = tuple(_CONCEPTS)
