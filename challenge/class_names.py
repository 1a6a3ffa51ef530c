"""The official class names of both data sets, in label order: facts, each with its source.

* CIFAR-100: ``fine_label_names`` of the data set's ``meta`` file, which is torchvision's
  ``CIFAR100.classes``; alphabetical.
* Tiny-ImageNet: the sorted WordNet ids (wnids) of ``wnids.txt``, each with its line number there
  (from 0) and its name in ``words.txt``. The raw order of ``wnids.txt`` is another label order that
  some peers use; the two agree at none of 200 positions.
"""

from dataclasses import dataclass

from challenge.spec import DatasetName, LabelOrder


@dataclass(frozen=True)
class OfficialClass:
    """One class as its data set names it; the two last fields are Tiny-ImageNet's."""

    name: str
    wnid: str | None = None
    wnids_txt_index: int | None = None


_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# wnid, line of wnids.txt, name in words.txt
_TINYIMAGENET_ROWS = (
    ("n01443537", 22, "goldfish, Carassius auratus"),
    ("n01629819", 55, "European fire salamander, Salamandra salamandra"),
    ("n01641577", 5, "bullfrog, Rana catesbeiana"),
    ("n01644900", 183, "tailed frog, bell toad, ribbed toad, tailed toad, Ascaphus trui"),
    ("n01698640", 160, "American alligator, Alligator mississipiensis"),
    ("n01742172", 177, "boa constrictor, Constrictor constrictor"),
    ("n01768244", 174, "trilobite"),
    ("n01770393", 125, "scorpion"),
    ("n01774384", 141, "black widow, Latrodectus mactans"),
    ("n01774750", 43, "tarantula"),
    ("n01784675", 161, "centipede"),
    ("n01855672", 67, "goose"),
    ("n01882714", 68, "koala, koala bear, kangaroo bear, native bear, Phascolarctos cinereus"),
    ("n01910747", 94, "jellyfish"),
    ("n01917289", 164, "brain coral"),
    ("n01944390", 33, "snail"),
    ("n01945685", 100, "slug"),
    ("n01950731", 165, "sea slug, nudibranch"),
    ("n01983481", 151, "American lobster, Northern lobster, Maine lobster, Homarus americanus"),
    ("n01984695", 89, "spiny lobster, langouste, rock lobster, crawfish, crayfish, sea crawfish"),
    ("n02002724", 115, "black stork, Ciconia nigra"),
    ("n02056570", 41, "king penguin, Aptenodytes patagonica"),
    ("n02058221", 35, "albatross, mollymawk"),
    ("n02074367", 116, "dugong, Dugong dugon"),
    ("n02085620", 182, "Chihuahua"),
    ("n02094433", 135, "Yorkshire terrier"),
    ("n02099601", 78, "golden retriever"),
    ("n02099712", 39, "Labrador retriever"),
    ("n02106662", 11, "German shepherd, German shepherd dog, German police dog, alsatian"),
    ("n02113799", 194, "standard poodle"),
    ("n02123045", 66, "tabby, tabby cat"),
    ("n02123394", 131, "Persian cat"),
    ("n02124075", 0, "Egyptian cat"),
    ("n02125311", 102, "cougar, puma, catamount, mountain lion, painter, panther, Felis concolor"),
    ("n02129165", 184, "lion, king of beasts, Panthera leo"),
    ("n02132136", 14, "brown bear, bruin, Ursus arctos"),
    ("n02165456", 76, "ladybug, ladybeetle, lady beetle, ladybird, ladybird beetle"),
    ("n02190166", 113, "fly"),
    ("n02206856", 87, "bee"),
    ("n02226429", 180, "grasshopper, hopper"),
    ("n02231487", 181, "walking stick, walkingstick, stick insect"),
    ("n02233338", 48, "cockroach, roach"),
    ("n02236044", 51, "mantis, mantid"),
    (
        "n02268443",
        105,
        "dragonfly, darning needle, devil's darning needle, sewing needle, snake feeder, snake "
        "doctor, mosquito hawk, skeeter hawk",
    ),
    ("n02279972", 13, "monarch, monarch butterfly, milkweed butterfly, Danaus plexippus"),
    ("n02281406", 42, "sulphur butterfly, sulfur butterfly"),
    ("n02321529", 37, "sea cucumber, holothurian"),
    ("n02364673", 17, "guinea pig, Cavia cobaya"),
    ("n02395406", 101, "hog, pig, grunter, squealer, Sus scrofa"),
    ("n02403003", 120, "ox"),
    ("n02410509", 175, "bison"),
    (
        "n02415577",
        158,
        "bighorn, bighorn sheep, cimarron, Rocky Mountain bighorn, Rocky Mountain sheep, Ovis "
        "canadensis",
    ),
    ("n02423022", 73, "gazelle"),
    ("n02437312", 27, "Arabian camel, dromedary, Camelus dromedarius"),
    ("n02480495", 159, "orangutan, orang, orangutang, Pongo pygmaeus"),
    ("n02481823", 57, "chimpanzee, chimp, Pan troglodytes"),
    ("n02486410", 32, "baboon"),
    ("n02504458", 199, "African elephant, Loxodonta africana"),
    ("n02509815", 44, "lesser panda, red panda, panda, bear cat, cat bear, Ailurus fulgens"),
    ("n02666196", 63, "abacus"),
    ("n02669723", 74, "academic gown, academic robe, judge's robe"),
    ("n02699494", 185, "altar"),
    ("n02730930", 134, "apron"),
    ("n02769748", 38, "backpack, back pack, knapsack, packsack, rucksack, haversack"),
    ("n02788148", 189, "bannister, banister, balustrade, balusters, handrail"),
    ("n02791270", 145, "barbershop"),
    ("n02793495", 133, "barn"),
    ("n02795169", 65, "barrel, cask"),
    ("n02802426", 6, "basketball"),
    ("n02808440", 179, "bathtub, bathing tub, bath, tub"),
    (
        "n02814533",
        147,
        "beach wagon, station wagon, wagon, estate car, beach waggon, station waggon, waggon",
    ),
    ("n02814860", 93, "beacon, lighthouse, beacon light, pharos"),
    ("n02815834", 187, "beaker"),
    ("n02823428", 50, "beer bottle"),
    ("n02837789", 142, "bikini, two-piece"),
    ("n02841315", 197, "binoculars, field glasses, opera glasses"),
    ("n02843684", 72, "birdhouse"),
    ("n02883205", 156, "bow tie, bow-tie, bowtie"),
    ("n02892201", 155, "brass, memorial tablet, plaque"),
    ("n02906734", 124, "broom"),
    ("n02909870", 190, "bucket, pail"),
    ("n02917067", 69, "bullet train, bullet"),
    ("n02927161", 99, "butcher shop, meat market"),
    ("n02948072", 84, "candle, taper, wax light"),
    ("n02950826", 80, "cannon"),
    ("n02963159", 31, "cardigan"),
    (
        "n02977058",
        106,
        "cash machine, cash dispenser, automated teller machine, automatic teller machine, "
        "automated teller, automatic teller, ATM",
    ),
    ("n02988304", 70, "CD player"),
    ("n02999410", 171, "chain"),
    ("n03014705", 110, "chest"),
    ("n03026506", 123, "Christmas stocking"),
    ("n03042490", 166, "cliff dwelling"),
    ("n03085013", 26, "computer keyboard, keypad"),
    ("n03089624", 146, "confectionery, confectionary, candy store"),
    ("n03100240", 157, "convertible"),
    ("n03126707", 103, "crane"),
    ("n03160309", 88, "dam, dike, dyke"),
    ("n03179701", 85, "desk"),
    ("n03201208", 12, "dining table, board"),
    ("n03250847", 153, "drumstick"),
    ("n03255030", 154, "dumbbell"),
    ("n03355925", 150, "flagpole, flagstaff"),
    ("n03388043", 140, "fountain"),
    ("n03393912", 52, "freight car"),
    ("n03400231", 86, "frying pan, frypan, skillet"),
    ("n03404251", 59, "fur coat"),
    ("n03424325", 83, "gasmask, respirator, gas helmet"),
    ("n03444034", 163, "go-kart"),
    ("n03447447", 193, "gondola"),
    ("n03544143", 24, "hourglass"),
    ("n03584254", 91, "iPod"),
    ("n03599486", 108, "jinrikisha, ricksha, rickshaw"),
    ("n03617480", 172, "kimono"),
    ("n03637318", 61, "lampshade, lamp shade"),
    ("n03649909", 138, "lawn mower, mower"),
    ("n03662601", 196, "lifeboat"),
    ("n03670208", 114, "limousine, limo"),
    ("n03706229", 191, "magnetic compass"),
    ("n03733131", 21, "maypole"),
    ("n03763968", 169, "military uniform"),
    ("n03770439", 77, "miniskirt, mini"),
    ("n03796401", 64, "moving van"),
    ("n03804744", 29, "nail"),
    ("n03814639", 81, "neck brace"),
    ("n03837869", 186, "obelisk"),
    ("n03838899", 20, "oboe, hautboy, hautbois"),
    ("n03854065", 19, "organ, pipe organ"),
    ("n03891332", 10, "parking meter"),
    ("n03902125", 58, "pay-phone, pay-station"),
    ("n03930313", 127, "picket fence, paling"),
    ("n03937543", 98, "pill bottle"),
    ("n03970156", 9, "plunger, plumber's helper"),
    ("n03976657", 176, "pole"),
    ("n03977966", 90, "police van, police wagon, paddy wagon, patrol wagon, wagon, black Maria"),
    ("n03980874", 178, "poncho"),
    ("n03983396", 45, "pop bottle, soda bottle"),
    ("n03992509", 96, "potter's wheel"),
    ("n04008634", 49, "projectile, missile"),
    ("n04023962", 92, "punching bag, punch bag, punching ball, punchball"),
    ("n04067472", 1, "reel"),
    ("n04070727", 132, "refrigerator, icebox"),
    ("n04074963", 54, "remote control, remote"),
    ("n04099969", 3, "rocking chair, rocker"),
    ("n04118538", 128, "rugby ball"),
    ("n04133789", 97, "sandal"),
    ("n04146614", 15, "school bus"),
    ("n04149813", 148, "scoreboard"),
    ("n04179913", 129, "sewing machine"),
    ("n04251144", 111, "snorkel"),
    ("n04254777", 47, "sock"),
    ("n04259630", 82, "sombrero"),
    ("n04265275", 30, "space heater"),
    ("n04275548", 36, "spider web, spider's web"),
    ("n04285008", 117, "sports car, sport car"),
    ("n04311004", 130, "steel arch bridge"),
    ("n04328186", 137, "stopwatch, stop watch"),
    ("n04356056", 112, "sunglasses, dark glasses, shades"),
    ("n04366367", 119, "suspension bridge"),
    ("n04371430", 136, "swimming trunks, bathing trunks"),
    ("n04376876", 162, "syringe"),
    ("n04398044", 71, "teapot"),
    ("n04399382", 144, "teddy, teddy bear"),
    ("n04417672", 139, "thatch, thatched roof"),
    ("n04456115", 62, "torch"),
    ("n04465501", 75, "tractor"),
    ("n04486054", 79, "triumphal arch"),
    ("n04487081", 152, "trolleybus, trolley coach, trackless trolley"),
    ("n04501370", 122, "turnstile"),
    ("n04507155", 18, "umbrella"),
    ("n04532106", 104, "vestment"),
    ("n04532670", 168, "viaduct"),
    ("n04540053", 2, "volleyball"),
    ("n04560804", 118, "water jug"),
    ("n04562935", 109, "water tower"),
    ("n04596742", 95, "wok"),
    ("n04597913", 126, "wooden spoon"),
    ("n06596364", 173, "comic book"),
    ("n07579787", 143, "plate"),
    ("n07583066", 53, "guacamole"),
    ("n07614500", 28, "ice cream, icecream"),
    ("n07615774", 121, "ice lolly, lolly, lollipop, popsicle"),
    ("n07695742", 40, "pretzel"),
    ("n07711569", 167, "mashed potato"),
    ("n07715103", 198, "cauliflower"),
    ("n07720875", 188, "bell pepper"),
    ("n07734744", 107, "mushroom"),
    ("n07747607", 149, "orange"),
    ("n07749582", 4, "lemon"),
    ("n07753592", 46, "banana"),
    ("n07768694", 170, "pomegranate"),
    ("n07871810", 192, "meat loaf, meatloaf"),
    ("n07873807", 16, "pizza, pizza pie"),
    ("n07875152", 23, "potpie"),
    ("n07920052", 8, "espresso"),
    ("n09193705", 60, "alp"),
    ("n09246464", 7, "cliff, drop, drop-off"),
    ("n09256479", 34, "coral reef"),
    ("n09332890", 56, "lakeside, lakeshore"),
    ("n09428293", 25, "seashore, coast, seacoast, sea-coast"),
    ("n12267677", 195, "acorn"),
)

# The page of the data set (Krizhevsky): 20 superclasses of five, in its order.
_SUPERCLASS_ORDER = """
beaver dolphin otter seal whale aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip bottle bowl can cup plate
apple mushroom orange pear sweet_pepper clock keyboard lamp telephone television
bed chair couch table wardrobe bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf bridge castle house road skyscraper
cloud forest mountain plain sea camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk crab lobster snail spider worm
baby boy girl man woman crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train lawn_mower rocket streetcar tank tractor
"""

OFFICIAL_CLASSES: dict[DatasetName, tuple[OfficialClass, ...]] = {
    "cifar100": tuple(OfficialClass(name) for name in _CIFAR100_NAMES.split()),
    "tinyimagenet": tuple(
        OfficialClass(name, wnid, wnids_txt_index)
        for wnid, wnids_txt_index, name in _TINYIMAGENET_ROWS
    ),
}


def class_order(dataset: DatasetName, label_order: LabelOrder) -> tuple[int, ...]:
    """For each label under ``label_order``, the place of its class in ``OFFICIAL_CLASSES``.

    CIFAR-100 has one label order only, so there ``wnids-txt`` changes nothing.
    """
    places = range(len(OFFICIAL_CLASSES[dataset]))
    if dataset == "cifar100" or label_order == "sorted":
        return tuple(places)
    return tuple(sorted(places, key=lambda place: _TINYIMAGENET_ROWS[place][1]))


def superclass_order() -> tuple[int, ...]:
    """CIFAR-100's classes as the page of the data set lists them: 20 superclasses of five.

    The third-place entry of 2024 wrote its file in this order. It agrees with the fine labels at
    one place of 100.
    """
    names = [each.name for each in OFFICIAL_CLASSES["cifar100"]]
    return tuple(names.index(name) for name in _SUPERCLASS_ORDER.split())
