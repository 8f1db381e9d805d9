"""Words that say what kind of name stands near: given names, places, peoples, parts of streets, firms, professions.

Common knowledge of many countries, written for this file. A list is evidence to the tagger, never a verdict.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_GIVEN = """
aaron abdul abdullah adam adrian agnes ahmed aisha alan albert alejandro alex alexander alexandra alice alicia
alison amanda amelia amir amy ana anastasia andrea andreas andrew andy angela anita ann anna anne annie anthony
anton antonio ariana arthur asha astrid barbara beatrice ben benjamin bernard beth betty bill billy birgit björn bob
bogdan boris brandon brenda brian bruno caitlin camila camille carl carla carlos carmen carol caroline catherine
cecilia charles charlotte chen chloe chris christian christina christine christoph christopher claire clara claudia
craig cristina cynthia dan daniel daniela danielle dave david dean deborah denise dennis diana diane diego dimitri
dominik donald donna dorothy doug douglas edith eduardo edward eero elena eleni elias elisa elizabeth ella ellen
elsa emil emily emma enrico eric erik erika ernst esther ethan eva evelyn fatima felix fernando fiona florian
frances francesca francis francisco frank franz fred frederick gabriel gabriela gareth gary george gerald gerard
gertrude giovanni giulia gloria gordon grace graham greg greta guido gunnar gustav hana hannah hans harald harold
harry hassan heather heidi heinrich helen helena helga henri henrik henry hiroshi hugo ian ibrahim igor ilona ines
ingrid irene iris isabel isabella ivan jack jacob james jan jana jane janet janine jarmila jason javier jean jeff
jeffrey jennifer jenny jeremy jerry jesse jessica jill jim joan joanna jochen joe johan johann johanna john johnny
jon jonas jonathan jordan jorge josé josef joseph joshua joy juan judith judy julia julian julie jürgen justin kai
karen karin karl kate katharina katherine kathleen katie kayla keith kelly ken kenneth kevin kim klaus kurt kyle
lara larry lars laura lauren laurent lawrence lea leah lena leo leonard leslie lewis liam lily linda lisa louis
louise luca lucas lucia lucy luis luka luke magda magnus mai manuel marc marco marcus margaret maria marie marina
mario marion mark markus marta martha martin martina mary mateo mathias matt matthew maurice max maya megan mehmet
melissa mia michael michel michelle miguel mike milan mila miranda miriam mohamed mohammed monica monika nadia nancy
naomi natalia natalie natasha nathan neil nicholas nick nicola nicolas nicole nigel nikolai nina noah nora olaf oleg
olga oliver olivia omar oscar otto pablo pamela patricia patrick paul paula pauline pavel pedro peggy peter petr
petra phil philip philippe pierre piotr priya rachel rafael rahul raj ralph ramon raymond rebecca regina rene renate
ricardo richard rita rob robert roberto robin roger roland roman ron ronald rosa rose roy rudolf russell ruth ryan
sabine sally sam samantha samuel sandra sara sarah scott sean sebastian sergei sergio sharon shirley simon simone
sofia sonia sophia sophie stacy stan stefan stella stephan stephanie stephen steve steven stuart susan susanne sven
sylvia tamara tanya tara tatiana ted teresa terry theodore theresa thomas tiffany tim timothy tina tobias todd tom
tomas tommy tony tracy ulrich uma ursula uta vanessa vera veronica victor victoria vincent virginia vivian vladimir
walter wanda wayne wei wendy werner wilhelm will william willy wolfgang xavier yan yasmin yuki yusuf yvonne zachary
zara zoe zoltan
"""
_PLACES = """
afghanistan albania algeria andorra angola argentina armenia australia austria azerbaijan bahamas bahrain bangladesh
barbados belarus belgium belize benin bhutan bolivia bosnia botswana brazil brunei bulgaria burkina burundi cambodia
cameroon canada chad chile china colombia comoros congo croatia cuba cyprus czechia denmark djibouti dominica
ecuador egypt england eritrea estonia ethiopia europe fiji finland france gabon gambia germany ghana greece
greenland grenada guatemala guinea guyana haiti honduras hungary iceland india indonesia iran iraq ireland israel
italy jamaica japan jordan kazakhstan kenya kosovo kuwait kyrgyzstan laos latvia lebanon lesotho liberia libya
liechtenstein lithuania luxembourg madagascar malawi malaysia maldives mali malta mauritania mauritius mexico
moldova monaco mongolia montenegro morocco mozambique myanmar namibia nepal netherlands niger nigeria norway oman
pakistan palestine panama paraguay peru philippines poland portugal qatar romania russia rwanda samoa scotland
senegal serbia seychelles singapore slovakia slovenia somalia spain sudan suriname sweden switzerland syria taiwan
tajikistan tanzania thailand togo tonga tunisia turkey turkmenistan uganda ukraine uruguay uzbekistan vanuatu
venezuela vietnam wales yemen zambia zimbabwe usa uk uae us eu alabama alaska arizona arkansas california colorado
connecticut delaware florida georgia hawaii idaho illinois indiana iowa kansas kentucky louisiana maine maryland
massachusetts michigan minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania
tennessee texas utah vermont virginia washington wisconsin wyoming ontario quebec bavaria saxony catalonia andalusia
tuscany sicily brittany normandy queensland amsterdam ankara antwerp athens atlanta auckland austin baghdad
baltimore bangalore bangkok barcelona basel beijing beirut belfast belgrade berlin bern birmingham bogota bologna
bonn boston bradford brasilia bratislava bremen brisbane bristol brussels bucharest budapest cairo calgary cambridge
canberra cape caracas cardiff casablanca chennai chicago cincinnati cleveland cologne copenhagen cork dallas
damascus delhi denver detroit dhaka dortmund dresden dubai dublin durban dusseldorf edinburgh essen florence
frankfurt fukuoka gdansk geneva genoa glasgow gothenburg granada graz hamburg hanoi hanover havana helsinki
hiroshima honolulu houston hyderabad istanbul jakarta jerusalem johannesburg kabul karachi kathmandu kiev kyiv kobe
kolkata krakow kyoto lagos lahore leeds leicester leipzig lille lima lisbon liverpool ljubljana london lyon madrid
malaga manchester manila marseille melbourne memphis miami milan milwaukee minneapolis minsk montevideo montreal
moscow mumbai munich nagoya nairobi nantes naples nashville newcastle nice nottingham nuremberg odessa orlando osaka
oslo ottawa oxford palermo paris perth philadelphia phoenix pittsburgh porto portland porto prague pretoria
reykjavik riga rio riyadh rome rotterdam sacramento salzburg santiago sapporo sarajevo seattle seoul seville
shanghai sheffield shenzhen sofia split stockholm strasbourg stuttgart sydney taipei tallinn tampa tbilisi tehran
tokyo toronto toulouse tucson tunis turin utrecht valencia vancouver venice vienna vilnius warsaw wellington wroclaw
york zagreb zurich
"""
_PEOPLES = """
afghan african albanian algerian american arab argentine argentinian armenian asian australian austrian bangladeshi
basque belgian bolivian bosnian brazilian british bruneian bulgarian cambodian canadian catalan chilean chinese
colombian croatian cuban cypriot czech danish dutch ecuadorian egyptian english estonian ethiopian european filipino
finnish french georgian german ghanaian greek greenlandic guatemalan haitian hungarian icelandic indian indonesian
iranian iraqi irish israeli italian jamaican japanese jewish jordanian kenyan korean kurdish kuwaiti latvian
lebanese libyan lithuanian malaysian maltese mexican mongolian moroccan muslim christian hindu buddhist catholic
nepalese nigerian norwegian pakistani palestinian persian peruvian polish portuguese romanian russian saudi scottish
serbian singaporean slovak slovakian slovenian somali spanish sudanese swedish swiss syrian taiwanese thai tibetan
tunisian turkish ugandan ukrainian uruguayan venezuelan vietnamese welsh democrat republican
"""
_STREETS = """
street st avenue ave road rd lane ln drive dr boulevard blvd way court ct place pl square sq terrace crescent close
highway hwy parkway pkwy circle trail alley plaza row walk mews grove hill route suite ste apt apartment unit floor
flat building bldg box po rue chemin impasse allée quai cours strasse straße str weg gasse platz allee ring damm
ufer via viale piazza corso vicolo strada calle avenida avda camino paseo plaza carrer rua travessa praça largo
estrada ulica ul aleja al os plac utca út útja körút tér ulice náměstí třída gate gatan gata vägen väg vej gade allé
veien vei katu tie kuja polku straat laan plein gracht kade dreef steenweg cesta pot trg naselje bulevar
"""
_FIRMS = """
inc incorporated corp corporation co company ltd limited llc llp plc gmbh ag kg se sa sas sarl spa srl bv nv ab as
oy aps group holding holdings bank capital partners associates sons brothers university college institute hospital
clinic school foundation association society agency ministry department bureau office council committee union
systems solutions technologies technology labs laboratories software services consulting media studios motors
airlines insurance energy pharma pharmaceuticals international industries enterprises networks ventures
"""
_PROFESSIONS = """
accountant actor actress administrator advisor agent analyst architect artist assistant attorney auditor baker
banker barber bookkeeper broker builder buyer captain carpenter cashier chef chemist cleaner clerk coach conductor
consultant cook coordinator counselor dancer dentist designer developer director doctor driver economist editor
electrician engineer estimator examiner farmer firefighter foreman gardener geologist guard hairdresser handler
hostess inspector instructor interpreter inventor investigator janitor jeweler journalist judge keeper laborer
lawyer lecturer librarian lifeguard machinist manager mechanic midwife miner model mover musician nurse officer
operator optician optometrist painter paralegal pharmacist photographer physician pilot planner plumber porter
printer producer professor programmer psychologist receptionist repairer reporter researcher sailor scientist
secretary singer specialist statistician steward supervisor surgeon surveyor tailor teacher technician therapist
trainer translator treasurer tutor typist veterinarian waiter waitress welder writer mr mrs ms miss mx dr prof sir
madam lord lady president minister ceo cto cfo chief head vice
"""
_MONTHS = """
january february march april may june july august september october november december jan feb mar apr jun jul aug
sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday yesterday today tomorrow
"""

LISTS: Final = MappingProxyType(
    {
        "given": frozenset(_GIVEN.split()),
        "place": frozenset(_PLACES.split()),
        "people": frozenset(_PEOPLES.split()),
        "street": frozenset(_STREETS.split()),
        "firm": frozenset(_FIRMS.split()),
        "profession": frozenset(_PROFESSIONS.split()),
        "date": frozenset(_MONTHS.split()),
    }
)
